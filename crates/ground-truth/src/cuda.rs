//! A CUDA GPU, where there is one. Nothing of CUDA is needed to build: the driver and cuBLAS are loaded when they are asked for.

use std::any::Any;

use crate::device::{Device, DeviceError};

#[cfg(feature = "cuda")]
mod gpu;

/// The first GPU.
///
/// # Errors
/// Why there is none: no driver, no cuBLAS, no device.
#[cfg(feature = "cuda")]
pub fn open() -> Result<Box<dyn Device>, DeviceError> {
    // A library that lacks a function has the binding panic.
    std::panic::catch_unwind(|| gpu::Gpu::open().map(|gpu| -> Box<dyn Device> { Box::new(gpu) }))
        .unwrap_or_else(|panic| Err(DeviceError(told(&*panic))))
}

/// No GPU.
///
/// # Errors
/// That it was built without.
#[cfg(not(feature = "cuda"))]
pub fn open() -> Result<Box<dyn Device>, DeviceError> {
    Err(DeviceError("this was built without the feature `cuda`".to_owned()))
}

/// What a panic said.
pub(crate) fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::tests::random;
    use crate::{Error, Search, Wanted};

    /// On a machine with a GPU this compares the GPU with the CPU; elsewhere it is what most people see.
    #[test]
    fn a_gpu_finds_what_the_cpu_finds_or_says_why_there_is_none() {
        let (rows, queries) = (random(5000, 256, 1), random(40, 256, 2));
        let nearest = |wanted: Wanted| {
            let mut search = Search::new(queries.clone(), 10, wanted)?;
            search.add(&rows, &|_, _| true);
            Ok::<_, Error>(search.finish())
        };
        let (cpu, auto) = (nearest(Wanted::Cpu).unwrap(), nearest(Wanted::Auto).unwrap());
        assert_eq!(cpu.nearest, auto.nearest);
        assert!(!cpu.made.on_gpu && cpu.made.why_not_gpu.is_none());
        match (open(), nearest(Wanted::Cuda)) {
            (Ok(device), Ok(gpu)) => {
                assert_eq!(cpu.nearest, gpu.nearest);
                assert!(gpu.made.on_gpu && auto.made.on_gpu, "{:?}", gpu.made);
                assert_eq!((gpu.made.checked, gpu.made.by.as_str()), (8 * 5000, device.name()));
            }
            (Err(reason), Err(Error::NoGpu { reason: told })) => {
                assert_eq!(reason.0, told);
                assert_eq!(auto.made.why_not_gpu, Some(told));
                assert!(auto.made.by.starts_with("CPU, "), "{:?}", auto.made);
            }
            (_, nearest) => panic!("{nearest:?}"),
        }
    }
}
