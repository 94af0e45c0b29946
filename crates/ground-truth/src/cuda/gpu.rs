//! The products by cuBLAS, in device memory of its own.

use std::sync::Arc;

use cudarc::cublas::sys::{cublasMath_t, cublasOperation_t, cublasSetMathMode};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, Gemv, GemvConfig};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream};

use crate::Vectors;
use crate::device::{Device, DeviceError, weight};

pub struct Gpu {
    name: String,
    blas: CudaBlas,
    stream: Arc<CudaStream>,
    dimensions: usize,
    queries: Option<Loaded>,
    rows: Option<Loaded>,
    /// All rows of the first query, then of the next one.
    products: Option<CudaSlice<f32>>,
    weights: Option<CudaSlice<f32>>,
}

/// Vectors in the memory of the device.
struct Loaded {
    values: CudaSlice<f32>,
    count: usize,
}

impl Gpu {
    pub fn open() -> Result<Self, DeviceError> {
        #[expect(unsafe_code, reason = "libraries of CUDA may be loaded: their initialisers do nothing else")]
        let (has_driver, has_blas) =
            unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::cublas::sys::is_culib_present()) };
        if !has_driver {
            return Err(DeviceError("no CUDA driver is installed".to_owned()));
        }
        if !has_blas {
            return Err(DeviceError("cuBLAS is not installed, or not where libraries are looked for".to_owned()));
        }
        let context = CudaContext::new(0).map_err(|error| DeviceError(format!("no CUDA device: {error:?}")))?;
        let stream = context.default_stream();
        let name = context.name().map_err(failed)?;
        let blas = CudaBlas::new(stream.clone()).map_err(failed)?;
        // 32 bits throughout: no TF32, no emulation, whatever the environment of the process asks for.
        #[expect(unsafe_code, reason = "the handle is that of `blas`, which is alive")]
        unsafe { cublasSetMathMode(*blas.handle(), cublasMath_t::CUBLAS_PEDANTIC_MATH) }.result().map_err(failed)?;
        Ok(Self { name, blas, stream, dimensions: 0, queries: None, rows: None, products: None, weights: None })
    }

    fn loaded(&self) -> Result<(&Loaded, &Loaded), DeviceError> {
        self.queries.as_ref().zip(self.rows.as_ref()).ok_or_else(|| DeviceError("nothing is loaded".to_owned()))
    }
}

impl Device for Gpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn free_bytes(&mut self) -> Result<u64, DeviceError> {
        let (free, _) = self.stream.context().mem_get_info().map_err(failed)?;
        Ok(free as u64)
    }

    fn load_queries(&mut self, queries: &Vectors) -> Result<(), DeviceError> {
        (self.queries, self.rows, self.products) = (None, None, None);
        self.dimensions = queries.dimensions();
        let values = self.stream.clone_htod(queries.values()).map_err(failed)?;
        self.queries = Some(Loaded { values, count: queries.len() });
        Ok(())
    }

    fn load_rows(&mut self, rows: &[f32]) -> Result<(), DeviceError> {
        let count = rows.len() / self.dimensions.max(1);
        let queries = self.queries.as_ref().map_or(0, |queries| queries.count);
        if self.rows.as_ref().is_none_or(|loaded| loaded.count != count) {
            // What was there goes first, so that there is room.
            (self.rows, self.products, self.weights) = (None, None, None);
            let weights: Vec<f32> = (0..count).map(weight).collect();
            self.weights = Some(self.stream.clone_htod(&weights).map_err(failed)?);
            self.products = Some(self.stream.alloc_zeros(count * queries).map_err(failed)?);
            let values = self.stream.alloc_zeros(rows.len()).map_err(failed)?;
            self.rows = Some(Loaded { values, count });
        }
        let loaded = self.rows.as_mut().ok_or_else(|| DeviceError("nothing is loaded".to_owned()))?;
        self.stream.memcpy_htod(rows, &mut loaded.values).map_err(failed)
    }

    fn multiply(&mut self) -> Result<(), DeviceError> {
        // cuBLAS works in the context of the thread that asks, which may be another one each time.
        self.stream.context().bind_to_thread().map_err(failed)?;
        let mut products = self.products.take().ok_or_else(|| DeviceError("nothing is loaded".to_owned()))?;
        let (queries, rows) = self.loaded()?;
        // cuBLAS goes by columns: our rows are its columns, and its column of products is a query's.
        let config = GemmConfig {
            transa: cublasOperation_t::CUBLAS_OP_T,
            transb: cublasOperation_t::CUBLAS_OP_N,
            m: int(rows.count)?,
            n: int(queries.count)?,
            k: int(self.dimensions)?,
            alpha: 1.0_f32,
            lda: int(self.dimensions)?,
            ldb: int(self.dimensions)?,
            beta: 0.0,
            ldc: int(rows.count)?,
        };
        #[expect(unsafe_code, reason = "the sizes are those that the three were allocated with")]
        let multiplied = unsafe { self.blas.gemm(config, &rows.values, &queries.values, &mut products) };
        self.products = Some(products);
        multiplied.map_err(failed)
    }

    fn products(&mut self) -> Result<Vec<f32>, DeviceError> {
        let products = self.products.as_ref().ok_or_else(|| DeviceError("nothing is loaded".to_owned()))?;
        let products = self.stream.clone_dtoh(products).map_err(failed)?;
        self.stream.synchronize().map_err(failed)?;
        Ok(products)
    }

    fn checksums(&mut self) -> Result<Vec<f32>, DeviceError> {
        let (queries, rows) = self.loaded()?;
        let (Some(products), Some(weights)) = (&self.products, &self.weights) else {
            return Err(DeviceError("nothing is loaded".to_owned()));
        };
        let mut sums = self.stream.alloc_zeros::<f32>(queries.count).map_err(failed)?;
        let config = GemvConfig {
            trans: cublasOperation_t::CUBLAS_OP_T,
            m: int(rows.count)?,
            n: int(queries.count)?,
            alpha: 1.0_f32,
            lda: int(rows.count)?,
            incx: 1,
            beta: 0.0,
            incy: 1,
        };
        #[expect(unsafe_code, reason = "the sizes are those that the three were allocated with")]
        unsafe { self.blas.gemv(config, products, weights, &mut sums) }.map_err(failed)?;
        let sums = self.stream.clone_dtoh(&sums).map_err(failed)?;
        self.stream.synchronize().map_err(failed)?;
        Ok(sums)
    }
}

fn int(count: usize) -> Result<i32, DeviceError> {
    i32::try_from(count).map_err(|_| DeviceError(format!("{count} is more than cuBLAS counts")))
}

fn failed(error: impl std::fmt::Debug) -> DeviceError {
    DeviceError(format!("{error:?}"))
}
