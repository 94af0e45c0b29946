//! The nearest of each query, a part of the vectors at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::best::{Best, Neighbour};
use crate::device::{Device, DeviceError, rows_at_once};
use crate::vectors::{Error, Rows, Vectors, dot64, rounding};
use crate::{cpu, cuda};

/// How many queries are computed on the CPU too, at most.
const SAMPLE: usize = 8;

/// What is to multiply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A GPU where one is, and the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU.
    Cuda,
}

/// The nearest neighbours, and how they were found.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Those of each query, nearest first, equally near ones by row.
    pub nearest: Vec<Vec<Neighbour>>,
    /// How they were found.
    pub made: Made,
}

/// How the nearest were found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What multiplied: the name of a GPU, or the CPU and how many threads.
    pub by: String,
    /// Whether a GPU multiplied all of it.
    pub on_gpu: bool,
    /// Why no GPU did, or not to the end, where one was not ruled out.
    pub why_not_gpu: Option<String>,
    /// How many queries there were.
    pub queries: u64,
    /// How many vectors there were.
    pub vectors: u64,
    /// How many products of the GPU were computed on the CPU too.
    pub checked: u64,
    /// The most by which such a product differed.
    pub deviation: f64,
    /// The most by which it may differ: [`rounding`].
    pub allowed: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Finds the nearest of each query.
pub struct Search {
    queries: Vectors,
    best: Vec<Best>,
    device: Option<Box<dyn Device>>,
    at_once: usize,
    made: Made,
}

impl Search {
    /// The nearest of these queries are to be found, at most `most` of each.
    ///
    /// # Errors
    /// [`Error::NoGpu`] when one is wanted and none can be used.
    pub fn new(queries: Vectors, most: usize, wanted: Wanted) -> Result<Self, Error> {
        let opened = match wanted {
            Wanted::Cpu => return Ok(Self::with(queries, most, None)),
            Wanted::Auto | Wanted::Cuda => cuda::open(),
        };
        match opened {
            Ok(device) => Ok(Self::with(queries, most, Some(device))),
            Err(error) if wanted == Wanted::Cuda => Err(Error::NoGpu { reason: error.0 }),
            Err(error) => {
                let mut search = Self::with(queries, most, None);
                search.made.why_not_gpu = Some(error.0);
                Ok(search)
            }
        }
    }

    /// As [`Self::new`], with a device that is at hand.
    #[must_use]
    pub fn with(queries: Vectors, most: usize, device: Option<Box<dyn Device>>) -> Self {
        let best = vec![Best::new(most); queries.len()];
        let made = Made {
            by: device.as_ref().map_or_else(on_the_cpu, |device| device.name().to_owned()),
            on_gpu: device.is_some(),
            queries: queries.len() as u64,
            allowed: rounding(queries.dimensions()),
            ..Made::default()
        };
        let mut search = Self { queries, best, device, at_once: 0, made };
        let at_once = search.asked(|device, queries| {
            device.load_queries(queries)?;
            Ok(rows_at_once(device.free_bytes()?, queries.dimensions(), queries.len()))
        });
        match at_once {
            None => {}
            Some(Ok(rows)) => search.at_once = rows,
            Some(Err(error)) => search.give_up(&error),
        }
        search
    }

    /// Compares further vectors with the queries; their numbers go on from those before. `keep(query, row)` says whether a row of
    /// this part, counted from 0, may be found by a query.
    ///
    /// # Panics
    /// When the vectors are not of as many dimensions as the queries.
    pub fn add(&mut self, rows: &Vectors, keep: &(dyn Fn(usize, usize) -> bool + Sync)) {
        assert_eq!(rows.dimensions(), self.queries.dimensions(), "vectors of another space");
        let began = Instant::now();
        let mut begin = 0;
        while begin < rows.len() {
            let count = if self.device.is_some() { self.at_once.min(rows.len() - begin) } else { rows.len() - begin };
            let first = self.made.vectors as usize;
            let offset = begin;
            let kept = move |query: usize, row: usize| keep(query, offset + row);
            let part = rows.part(begin, count);
            if !self.on_device(part, first, &kept) {
                cpu::offer(&self.queries, part, first, &mut self.best, &kept);
            }
            self.made.vectors += count as u64;
            begin += count;
        }
        self.made.seconds += began.elapsed().as_secs_f64();
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Truth {
        Truth { nearest: self.best.into_iter().map(Best::into_found).collect(), made: self.made }
    }

    /// Whether the device did it; where it fails, or its products are not those of the CPU, it is not asked any more.
    fn on_device(&mut self, rows: Rows<'_>, first: usize, keep: &(dyn Fn(usize, usize) -> bool + Sync)) -> bool {
        let products = self.asked(|device, _| {
            device.load_rows(rows.values)?;
            device.multiply()?;
            device.products()
        });
        let products = match products {
            None => return false,
            Some(Ok(products)) if products.len() == rows.len() * self.queries.len() => products,
            Some(Ok(products)) => {
                self.give_up(&DeviceError(format!("it gave {} products, not all", products.len())));
                return false;
            }
            Some(Err(error)) => {
                self.give_up(&error);
                return false;
            }
        };
        if let Err(error) = self.check(rows, &products) {
            self.give_up(&error);
            return false;
        }
        // What was found before stays as it was if one of these turns out to be wrong.
        let (mut best, queries, bound) = (self.best.clone(), &self.queries, self.made.allowed);
        let wrong = AtomicBool::new(false);
        cpu::each(&mut best, |from, best| {
            for (at, best) in best.iter_mut().enumerate() {
                let query = queries.row(from + at);
                for (row, &product) in products[(from + at) * rows.len()..][..rows.len()].iter().enumerate() {
                    if f64::from(product) + bound >= best.floor() && keep(from + at, row) {
                        let exact = dot64(query, rows.row(row));
                        if (f64::from(product) - exact).abs() > bound {
                            wrong.store(true, Ordering::Relaxed);
                        }
                        best.offer(first + row, exact);
                    }
                }
            }
        });
        if wrong.into_inner() {
            self.give_up(&DeviceError("one of its nearest is not what the CPU computes".to_owned()));
            return false;
        }
        self.best = best;
        true
    }

    /// Computes the products of some queries on the CPU too.
    fn check(&mut self, rows: Rows<'_>, products: &[f32]) -> Result<(), DeviceError> {
        let step = self.queries.len().div_ceil(SAMPLE).max(1);
        let mut deviations = vec![(0.0_f64, 0_usize); self.queries.len().div_ceil(step)];
        let queries = &self.queries;
        cpu::each(&mut deviations, |from, deviations| {
            for (at, (most, of)) in deviations.iter_mut().enumerate() {
                let query = (from + at) * step;
                for (row, &product) in products[query * rows.len()..][..rows.len()].iter().enumerate() {
                    let deviation = (f64::from(product) - dot64(queries.row(query), rows.row(row))).abs();
                    // What is no number is as wrong as can be.
                    if deviation > *most || deviation.is_nan() {
                        (*most, *of) = (if deviation.is_nan() { f64::INFINITY } else { deviation }, query);
                    }
                }
            }
        });
        self.made.checked += (deviations.len() * rows.len()) as u64;
        let (most, query) = deviations.into_iter().fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
        self.made.deviation = self.made.deviation.max(most.min(f64::MAX));
        if most <= self.made.allowed {
            return Ok(());
        }
        let allowed = self.made.allowed;
        Err(DeviceError(format!(
            "a product of query {query} differs by {most:.1e} from the CPU's, at most {allowed:.1e} may be"
        )))
    }

    /// Asks the device, if there is one. What is asked of it may panic: a library that lacks a function does.
    fn asked<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn Device, &Vectors) -> Result<T, DeviceError>,
    ) -> Option<Result<T, DeviceError>> {
        let device = self.device.as_deref_mut()?;
        let asked = catch_unwind(AssertUnwindSafe(|| ask(device, &self.queries)));
        Some(asked.unwrap_or_else(|panic| {
            // Whatever state it is in, its end is that of the process.
            std::mem::forget(self.device.take());
            Err(DeviceError(cuda::told(&*panic)))
        }))
    }

    fn give_up(&mut self, error: &DeviceError) {
        let from = self.made.vectors;
        self.made.why_not_gpu = Some(format!("{}: {error}; the CPU took over at vector {from}", self.made.by));
        (self.made.by, self.made.on_gpu) = (on_the_cpu(), false);
        self.device = None;
    }
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("made", &self.made).finish_non_exhaustive()
    }
}

fn on_the_cpu() -> String {
    let threads = cpu::threads();
    format!("CPU, {threads} thread{}", if threads == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
