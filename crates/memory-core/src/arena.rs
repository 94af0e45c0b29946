//! Search structures in memory, exact and without I/O: vectors, and words.
//!
//! The embedded provider searches with them; they are also the exact oracle that tests of other providers compare with.

mod lexical;
mod vectors;

pub use lexical::{Bm25Query, Bm25Scores, Bm25Statistics, LexicalArena};
pub use vectors::{VectorArena, dot};
