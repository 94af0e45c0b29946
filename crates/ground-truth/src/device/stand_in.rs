//! A device for tests: the CPU, adding in another order, and with the faults that a device may have.

use super::{Device, DeviceError, weight};
use crate::Vectors;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Values are cut to 10 bits of mantissa, as TF32 does.
    Tf32,
    /// It fails from this multiplication on, counted from 0.
    FailsFrom(u32),
    /// It panics from this multiplication on.
    PanicsFrom(u32),
    /// The product of the last query with the last row is too large in this multiplication.
    FlipsIn(u32),
    /// The same in every multiplication, for a query that is not in the sample, of which no other product is as large.
    Invents,
    /// It has not read the last product yet.
    GivesTooFew,
}

#[derive(Debug)]
pub struct StandIn {
    pub fault: Fault,
    pub free_bytes: u64,
    multiplied: u32,
    queries: Vectors,
    rows: Vec<f32>,
    products: Vec<f32>,
}

impl StandIn {
    pub fn new(fault: Fault) -> Self {
        let (queries, rows, products) = (Vectors::new(1), Vec::new(), Vec::new());
        Self { fault, free_bytes: 1 << 30, multiplied: 0, queries, rows, products }
    }
}

impl Device for StandIn {
    fn name(&self) -> &str {
        "stand-in"
    }

    fn free_bytes(&mut self) -> Result<u64, DeviceError> {
        Ok(self.free_bytes)
    }

    fn load_queries(&mut self, queries: &Vectors) -> Result<(), DeviceError> {
        self.queries = queries.clone();
        Ok(())
    }

    fn load_rows(&mut self, rows: &[f32]) -> Result<(), DeviceError> {
        self.rows = rows.to_vec();
        Ok(())
    }

    fn multiply(&mut self) -> Result<(), DeviceError> {
        let now = self.multiplied;
        self.multiplied += 1;
        match self.fault {
            Fault::FailsFrom(from) if now >= from => return Err(DeviceError("out of order".to_owned())),
            Fault::PanicsFrom(from) => assert!(now < from, "missing symbol"),
            _ => {}
        }
        let cut = |value: f32| match self.fault {
            Fault::Tf32 => f32::from_bits(value.to_bits() & !0x1fff),
            _ => value,
        };
        let (dimensions, queries) = (self.queries.dimensions(), &self.queries);
        self.products = (0..queries.len())
            .flat_map(|query| self.rows.chunks(dimensions).map(move |row| (queries.row(query), row)))
            .map(|(query, row)| query.iter().zip(row).rev().map(|(a, b)| cut(*a) * cut(*b)).sum())
            .collect();
        if self.fault == Fault::Invents || self.fault == Fault::FlipsIn(now) {
            *self.products.last_mut().expect("there are products") += 1.0;
        }
        Ok(())
    }

    fn products(&mut self) -> Result<Vec<f32>, DeviceError> {
        let mut products = self.products.clone();
        if self.fault == Fault::GivesTooFew {
            products.pop();
        }
        Ok(products)
    }

    fn checksums(&mut self) -> Result<Vec<f32>, DeviceError> {
        let rows = self.rows.len() / self.queries.dimensions();
        let sum = |products: &[f32]| products.iter().enumerate().map(|(row, product)| product * weight(row)).sum();
        Ok(self.products.chunks(rows).map(sum).collect())
    }
}
