//! The table of a static model: a `model.safetensors` with int8 rows and one float16 scale for each row.

use std::borrow::Cow;

use serde::Deserialize;

/// One row for each word piece; the values of a row are its int8 values times its scale.
pub(crate) struct Weights {
    bytes: Cow<'static, [u8]>,
    /// Where the rows start in `bytes`.
    start: usize,
    dimensions: usize,
    scales: Vec<f32>,
}

/// The part of a safetensors header that is read; other tensors and metadata are ignored.
#[derive(Deserialize)]
struct Header {
    embeddings: Tensor,
    scales: Tensor,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    /// Start and end, from the end of the header.
    data_offsets: [usize; 2],
}

impl Weights {
    /// Reads a `model.safetensors` with the tensors `embeddings`, I8 `[pieces, dimensions]`, and `scales`, F16 `[pieces]`.
    /// The rows are not copied. The error says what is wrong with the file.
    pub(crate) fn new(bytes: Cow<'static, [u8]>) -> Result<Self, String> {
        let (header, data_start) = read_header(&bytes)?;
        let &[rows, dimensions] = header.embeddings.shape.as_slice() else {
            return Err(format!(
                "tensor `embeddings` has shape {:?}, not [pieces, dimensions]",
                header.embeddings.shape
            ));
        };
        if header.scales.shape != [rows] {
            return Err(format!("tensor `scales` has shape {:?}, `embeddings` asks for [{rows}]", header.scales.shape));
        }
        let start = locate(&bytes, data_start, &header.embeddings, "embeddings", "I8", 1)?;
        let scales_start = locate(&bytes, data_start, &header.scales, "scales", "F16", 2)?;
        let (halves, _) = bytes[scales_start..scales_start + rows * 2].as_chunks::<2>();
        let scales: Vec<f32> = halves.iter().map(|half| f32_from_half(u16::from_le_bytes(*half))).collect();
        if let Some(row) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(format!("the scale of row {row} is not a finite number"));
        }
        Ok(Self { bytes, start, dimensions, scales })
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.scales.len()
    }

    /// How many values a row has.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Adds the values of a row to `sums`, which has as many values as a row.
    pub(crate) fn add_row(&self, row: u32, sums: &mut [f32]) {
        let start = self.start + row as usize * self.dimensions;
        let scale = self.scales[row as usize];
        for (sum, &byte) in sums.iter_mut().zip(&self.bytes[start..start + self.dimensions]) {
            *sum += f32::from(byte.cast_signed()) * scale;
        }
    }
}

/// The header and where the data after it starts.
fn read_header(bytes: &[u8]) -> Result<(Header, usize), String> {
    let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    let length = length.ok_or("it is too short for a safetensors file")?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8)).filter(|&end| end <= bytes.len());
    let end =
        end.ok_or_else(|| format!("it is cut off, or not a safetensors file: the header ends at byte {length}"))?;
    let header = serde_json::from_slice(&bytes[8..end]);
    Ok((header.map_err(|error| format!("its safetensors header is not understood: {error}"))?, end))
}

/// Where the tensor's data starts, after checking that all of it is there.
fn locate(
    bytes: &[u8],
    data_start: usize,
    tensor: &Tensor,
    name: &str,
    dtype: &str,
    value_bytes: usize,
) -> Result<usize, String> {
    if tensor.dtype != dtype {
        return Err(format!("tensor `{name}` has type {}, not {dtype}", tensor.dtype));
    }
    let expected = tensor.shape.iter().try_fold(value_bytes, |product, &length| product.checked_mul(length));
    let [from, to] = tensor.data_offsets;
    if to.checked_sub(from) != expected || expected.is_none() {
        return Err(format!("tensor `{name}` of shape {:?} cannot lie in bytes {from} to {to}", tensor.shape));
    }
    match data_start.checked_add(to) {
        Some(end) if end <= bytes.len() => Ok(data_start + from),
        _ => Err(format!("it is cut off: tensor `{name}` ends at byte {to} of the data")),
    }
}

/// The value of an IEEE 754 half-precision number, exactly.
fn f32_from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // A subnormal counts in steps of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * (-24f32).exp2()).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        // The bias is 15 there and 127 here.
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Cow<'static, [u8]> {
        let length = (header.len() as u64).to_le_bytes();
        Cow::Owned([&length, header.as_bytes(), data].concat())
    }

    const HEADER: &str = r#"{"__metadata__":{"format":"pt"},
        "embeddings":{"dtype":"I8","shape":[2,3],"data_offsets":[4,10]},"scales":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;

    #[test]
    fn rows_are_found_wherever_the_header_puts_them() {
        // Scales 0.5 and -2.
        let weights = Weights::new(file(HEADER, &[0x00, 0x38, 0x00, 0xc0, 1, 2, 0xff, 127, 0x80, 0])).unwrap();
        assert_eq!((weights.rows(), weights.dimensions()), (2, 3));
        let mut sums = [0.0; 3];
        weights.add_row(0, &mut sums);
        assert_eq!(sums, [0.5, 1.0, -0.5]);
        weights.add_row(1, &mut sums);
        assert_eq!(sums, [-253.5, 257.0, -0.5]);
    }

    #[test]
    fn a_bad_file_is_refused_with_the_reason() {
        let data = [0; 10];
        for (bytes, reason) in [
            (Cow::Borrowed(b"abc".as_slice()), "it is too short for a safetensors file"),
            (
                Cow::Borrowed(b"version https://git-lfs".as_slice()),
                "it is cut off, or not a safetensors file: the header ends at byte 2336927755350992246",
            ),
            (
                file("{}", &data),
                "its safetensors header is not understood: missing field `embeddings` at line 1 column 2",
            ),
            (file(HEADER, &data[..9]), "it is cut off: tensor `embeddings` ends at byte 10 of the data"),
            (file(&HEADER.replace("I8", "F32"), &data), "tensor `embeddings` has type F32, not I8"),
            (
                file(&HEADER.replace("[2,3]", "[2,4]"), &data),
                "tensor `embeddings` of shape [2, 4] cannot lie in bytes 4 to 10",
            ),
            (
                file(&HEADER.replace("[2,3]", "[6]"), &data),
                "tensor `embeddings` has shape [6], not [pieces, dimensions]",
            ),
            (
                file(&HEADER.replace("[2,3]", "[3,2]"), &data),
                "tensor `scales` has shape [2], `embeddings` asks for [3]",
            ),
            (file(HEADER, &[0, 0x7c, 0, 0, 0, 0, 0, 0, 0, 0]), "the scale of row 0 is not a finite number"),
        ] {
            assert_eq!(Weights::new(bytes).err().unwrap(), reason);
        }
        let endless = HEADER.replace("[2,3]", "[4294967296,4294967296]").replace("[2]", "[4294967296]");
        assert!(Weights::new(file(&endless, &data)).is_err(), "a product that overflows");
    }

    #[test]
    fn every_half_is_read_exactly() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0x0000, 0.0),
        ] {
            assert_eq!(f32_from_half(bits), value, "{bits:#06x}");
        }
        assert!(f32_from_half(0x7e00).is_nan());
        assert_eq!(f32_from_half(0xfc00), f32::NEG_INFINITY);
    }
}
