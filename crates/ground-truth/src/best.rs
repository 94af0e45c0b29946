//! The nearest of a query so far.

/// A vector that is near to a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Which one, counted from the first one that was given.
    pub row: usize,
    /// The cosine of the angle between them, `-1.0..=1.0` up to rounding in 64 bits.
    pub similarity: f64,
}

/// The nearest of a query so far, nearest first, equally near ones by row.
#[derive(Debug, Clone)]
pub(crate) struct Best {
    most: usize,
    found: Vec<Neighbour>,
}

impl Best {
    pub fn new(most: usize) -> Self {
        Self { most, found: Vec::with_capacity(most + 1) }
    }

    /// The similarity that a further one has to have at least.
    pub fn floor(&self) -> f64 {
        match self.found.last() {
            Some(last) if self.found.len() == self.most => last.similarity,
            _ if self.most == 0 => f64::INFINITY,
            _ => f64::NEG_INFINITY,
        }
    }

    /// Takes a vector in where it is among the nearest. Rows are offered in rising order.
    pub fn offer(&mut self, row: usize, similarity: f64) {
        if similarity > self.floor() || self.found.len() < self.most {
            let at = self.found.partition_point(|other| other.similarity >= similarity);
            self.found.insert(at, Neighbour { row, similarity });
            self.found.truncate(self.most);
        }
    }

    pub fn into_found(self) -> Vec<Neighbour> {
        self.found
    }
}
