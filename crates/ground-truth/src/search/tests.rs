use super::*;
use crate::device::stand_in::{Fault, StandIn};
use crate::vectors::tests::random;

const DIMENSIONS: usize = 64;
const MOST: usize = 10;

/// All sorted by what 64 bits say.
fn sorted(queries: &Vectors, rows: &Vectors, keep: impl Fn(usize, usize) -> bool) -> Vec<Vec<Neighbour>> {
    let of = |query: usize| {
        let kept = (0..rows.len()).filter(|&row| keep(query, row));
        let mut all: Vec<Neighbour> =
            kept.map(|row| Neighbour { row, similarity: dot64(queries.row(query), rows.row(row)) }).collect();
        all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
        all.truncate(MOST);
        all
    };
    (0..queries.len()).map(of).collect()
}

fn found(queries: &Vectors, rows: &Vectors, parts: usize, device: Option<StandIn>) -> Truth {
    let device = device.map(|device| -> Box<dyn Device> { Box::new(device) });
    let mut search = Search::with(queries.clone(), MOST, device);
    let mut first = 0;
    for part in rows.values().chunks(rows.len().div_ceil(parts) * DIMENSIONS) {
        let mut vectors = Vectors::new(DIMENSIONS);
        part.chunks(DIMENSIONS).for_each(|row| vectors.push(row).unwrap());
        search.add(&vectors, &|query, row| is_kept(query, first + row));
        first += vectors.len();
    }
    search.finish()
}

fn is_kept(query: usize, row: usize) -> bool {
    query.is_multiple_of(2) || row.is_multiple_of(3)
}

/// Vectors of which many are the same, so that the order of equally near ones shows.
fn with_twins(count: usize) -> Vectors {
    let (some, mut rows) = (random(count / 4, DIMENSIONS, 3), Vectors::new(DIMENSIONS));
    (0..count).for_each(|row| rows.push(some.row(row * 7 % some.len())).unwrap());
    rows
}

#[test]
fn the_nearest_are_those_of_a_sort_of_all() {
    let (queries, rows) = (random(21, DIMENSIONS, 1), with_twins(900));
    let wanted = sorted(&queries, &rows, is_kept);
    for parts in [1, 4, 900] {
        let truth = found(&queries, &rows, parts, None);
        assert_eq!(truth.nearest, wanted, "in {parts} parts");
        assert_eq!((truth.made.vectors, truth.made.queries, truth.made.on_gpu), (900, 21, false));
    }
    let few = found(&queries, &with_twins(8), 1, None);
    assert!(few.nearest.iter().step_by(2).all(|nearest| nearest.len() == 8), "all there are");
    assert!(found(&Vectors::new(DIMENSIONS), &rows, 1, None).nearest.is_empty());
}

#[test]
fn what_32_bits_cannot_tell_apart_is_still_in_order() {
    // Copies of three vectors whose last bits differ.
    let (some, mut rows) = (random(3, DIMENSIONS, 3), Vectors::new(DIMENSIONS));
    for row in 0..600_u32 {
        let copied = some.row(row as usize % 3).iter().zip(0_u32..);
        let values: Vec<f32> =
            copied.map(|(value, at)| f32::from_bits(value.to_bits() ^ ((row / 3 * 31 + at * 7) % 5))).collect();
        rows.push(&values).unwrap();
    }
    let mut queries = random(3, DIMENSIONS, 1);
    (0..3).for_each(|row| queries.push(some.row(row)).unwrap());
    let wanted = sorted(&queries, &rows, is_kept);
    for device in [None, Some(StandIn::new(Fault::None))] {
        let truth = found(&queries, &rows, 2, device);
        assert_eq!(truth.nearest, wanted, "{:?}", truth.made);
    }
}

#[test]
fn a_device_finds_the_same_in_what_its_memory_holds() {
    let (queries, rows) = (random(21, DIMENSIONS, 1), with_twins(900));
    let wanted = sorted(&queries, &rows, is_kept);
    for free_bytes in [1 << 30, 64 << 10, 0] {
        let mut device = StandIn::new(Fault::None);
        device.free_bytes = free_bytes;
        let truth = found(&queries, &rows, 2, Some(device));
        assert_eq!(truth.nearest, wanted, "{free_bytes} bytes");
        let made = truth.made;
        assert!(made.on_gpu && made.why_not_gpu.is_none() && made.by == "stand-in", "{made:?}");
        assert_eq!((made.checked, made.vectors), (7 * 900, 900));
        assert!(made.deviation > 0.0 && made.deviation <= made.allowed, "{made:?}");
    }
}

#[test]
fn what_a_device_gets_wrong_the_cpu_gets_right() {
    let (queries, rows) = (random(21, DIMENSIONS, 1), with_twins(900));
    let wanted = sorted(&queries, &rows, is_kept);
    for (fault, told) in [
        (Fault::Tf32, "from the CPU's"),
        (Fault::FailsFrom(0), "out of order; the CPU took over at vector 0"),
        (Fault::FailsFrom(1), "out of order; the CPU took over at vector 450"),
        (Fault::PanicsFrom(1), "missing symbol; the CPU took over at vector 450"),
        (Fault::Invents, "not what the CPU computes"),
        (Fault::GivesTooFew, "not all"),
    ] {
        let truth = found(&queries, &rows, 2, Some(StandIn::new(fault)));
        assert_eq!(truth.nearest, wanted, "{fault:?}");
        let reason = truth.made.why_not_gpu.clone().unwrap_or_default();
        assert!(reason.contains(told) && reason.starts_with("stand-in: "), "{fault:?}: {reason}");
        assert!(!truth.made.on_gpu && truth.made.by.starts_with("CPU"), "{fault:?}");
    }
}
