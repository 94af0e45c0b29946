//! The exact nearest neighbours of many queries: what the answers of a search are compared with.
//!
//! In reading order:
//! - [`Vectors`] are what is compared, and [`Search`] finds the nearest of each query, however many vectors there are: they are
//!   given a part at a time.
//! - [`rounding`] bounds the error of a dot product in 32 bits, whatever multiplies. What could be among the nearest by that bound
//!   is compared once more in 64 bits, so the CPU and a GPU find the same.
//! - [`Device`] is what multiplies in place of the CPU. A part of all it computes is computed on the CPU too; where they differ the
//!   CPU's holds, and [`Made`] says so.
//! - [`cuda`] is a GPU, and [`soak`] keeps one busy.
//!
//! ```
//! use ground_truth::{Search, Vectors, Wanted};
//!
//! let mut memories = Vectors::new(2);
//! for row in [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]] {
//!     memories.push(&row)?;
//! }
//! let mut queries = Vectors::new(2);
//! queries.push(&[0.0, 1.0])?;
//! let mut search = Search::new(queries, 2, Wanted::Cpu)?;
//! search.add(&memories, &|_query, _row| true);
//! let truth = search.finish();
//! let rows: Vec<usize> = truth.nearest[0].iter().map(|neighbour| neighbour.row).collect();
//! assert_eq!(rows, [1, 2]);
//! # Ok::<(), ground_truth::Error>(())
//! ```

mod best;
mod cpu;
pub mod cuda;
mod device;
mod search;
pub mod soak;
mod vectors;

pub use best::Neighbour;
pub use device::{Device, DeviceError};
pub use search::{Made, Search, Truth, Wanted};
pub use vectors::{Error, Vectors, rounding};
