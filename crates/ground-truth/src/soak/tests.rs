use super::*;
use crate::device::stand_in::{Fault, StandIn};

const SIZE: Size = Size { queries: 20, vectors: 300, dimensions: 32 };

fn soaked(fault: Fault) -> Soak {
    soak(&mut StandIn::new(fault), SIZE, |soak| soak.products < 5).unwrap()
}

#[test]
fn every_product_is_verified() {
    let sound = soaked(Fault::None);
    assert_eq!((sound.products, sound.mismatches, sound.checked), (5, 0, 10 * 300), "{sound:?}");
    assert!(sound.tflops > 0.0 && sound.deviation <= sound.allowed, "{sound:?}");
    assert_eq!(soaked(Fault::FlipsIn(3)).mismatches, 1, "one product of five, by its checksum");
    assert_eq!(soaked(Fault::Tf32).mismatches, 1, "the first, by the CPU; the others are like it");
    assert_eq!(soaked(Fault::GivesTooFew).mismatches, 1);
}

#[test]
fn a_device_that_fails_ends_it() {
    assert!(soak(&mut StandIn::new(Fault::FailsFrom(2)), SIZE, |_| true).is_err());
}
