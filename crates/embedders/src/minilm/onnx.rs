//! The part of an ONNX file that is needed: the stored tensors, and which node makes which value out of what.
//!
//! An ONNX file is one protobuf message, `ModelProto` of `onnx.proto`. Fields that are not needed are skipped.

use std::collections::HashMap;

/// The graph of a model. Everything borrows from the file's bytes.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    tensors: HashMap<&'a str, Tensor<'a>>,
    nodes: Vec<Node<'a>>,
}

/// A stored tensor.
#[derive(Debug, Default)]
struct Tensor<'a> {
    name: &'a str,
    data_type: u64,
    shape: Vec<usize>,
    /// The values, little-endian, the last dimension running fastest.
    data: &'a [u8],
}

/// One operation.
#[derive(Debug, Default)]
struct Node<'a> {
    operation: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

/// `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT8: u64 = 3;

impl<'a> Graph<'a> {
    /// Reads a file. The error says what is wrong with it.
    pub(super) fn new(file: &'a [u8]) -> Result<Self, String> {
        let mut graph = Self::default();
        for field in Fields(file) {
            if let (7, Value::Bytes(bytes)) = field? {
                graph.read(bytes)?;
            }
        }
        Ok(graph)
    }

    fn read(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(bytes)) => self.nodes.push(Node::new(bytes)?),
                (5, Value::Bytes(bytes)) => {
                    let tensor = Tensor::new(bytes)?;
                    self.tensors.insert(tensor.name, tensor);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The 32-bit floats of a tensor of this shape.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let data = self.data(name, FLOAT, shape, 4)?;
        let values: Vec<f32> = data.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(format!("a value of tensor `{name}` is not a finite number"))
        }
    }

    /// The 8-bit integers of a tensor of this shape.
    pub(super) fn bytes(&self, name: &str, shape: &[usize]) -> Result<&'a [u8], String> {
        self.data(name, INT8, shape, 1)
    }

    fn data(&self, name: &str, data_type: u64, shape: &[usize], value_bytes: usize) -> Result<&'a [u8], String> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("it has no tensor `{name}`"))?;
        let expected_bytes = shape.iter().product::<usize>() * value_bytes;
        if (tensor.data_type, &tensor.shape[..], tensor.data.len()) != (data_type, shape, expected_bytes) {
            let Tensor { data_type: actual, shape: actual_shape, data, .. } = tensor;
            return Err(format!(
                "tensor `{name}` has type {actual}, shape {actual_shape:?} and {} bytes, not type {data_type}, shape \
                 {shape:?} and {expected_bytes} bytes",
                data.len()
            ));
        }
        Ok(tensor.data)
    }

    /// The name of the matrix whose product `bias` is added to: exporters name biases, but number matrices.
    pub(super) fn matrix_of_bias(&self, bias: &str) -> Result<&'a str, String> {
        self.nodes
            .iter()
            .filter(|node| node.operation == "Add" && node.inputs.contains(&bias))
            .flat_map(|node| &node.inputs)
            .find_map(|input| self.nodes.iter().find(|node| node.operation == "MatMul" && node.outputs == [*input]))
            .and_then(|product| product.inputs.get(1).copied())
            .ok_or_else(|| format!("tensor `{bias}` is not added to a product of matrices"))
    }
}

impl<'a> Tensor<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let mut tensor = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Number(length)) => tensor.shape.push(to_length(length)?),
                // Numbers of one field may also stand packed together.
                (1, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        tensor.shape.push(to_length(take_number(&mut packed)?)?);
                    }
                }
                (2, Value::Number(data_type)) => tensor.data_type = data_type,
                (8, Value::Bytes(name)) => tensor.name = to_text(name)?,
                (9, Value::Bytes(data)) => tensor.data = data,
                _ => {}
            }
        }
        Ok(tensor)
    }
}

impl<'a> Node<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let mut node = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(name)) => node.inputs.push(to_text(name)?),
                (2, Value::Bytes(name)) => node.outputs.push(to_text(name)?),
                (4, Value::Bytes(name)) => node.operation = to_text(name)?,
                _ => {}
            }
        }
        Ok(node)
    }
}

/// The fields of a protobuf message, in the order of the file, each with its number.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A number of fixed width; none of the fields that are read has one.
    Fixed,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), String> {
        let key = take_number(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Number(take_number(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = take_number(&mut self.0)?;
                Value::Bytes(self.take(to_length(length)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            other => return Err(format!("a field has the unknown type {other}")),
        };
        Ok((key >> 3, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

const CUT_OFF: &str = "it is cut off, or not an ONNX file";

/// Takes a number of variable width: seven bits in each byte, the lowest first.
fn take_number(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first().ok_or(CUT_OFF)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(CUT_OFF.to_owned())
}

fn to_length(number: u64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| CUT_OFF.to_owned())
}

fn to_text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name in it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn node(operation: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, operation.as_bytes())].concat())
    }

    fn file() -> Vec<u8> {
        // Shape [1, 2] as two fields, and [300] packed; a name that comes after the data; a field to skip of each type.
        let floats = [&[1 << 3, 1, 1 << 3, 2, 2 << 3, 1][..], &field(9, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0])].concat();
        let floats = field(5, &[floats, field(8, b"floats")].concat());
        let skipped = [15 << 3 | 5, 1, 2, 3, 4, 14 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 13 << 3, 0xac, 2];
        let bytes = [&field(1, &[0x01])[..], &[2 << 3, 3], &field(8, b"bytes"), &field(9, &[0xff]), &skipped].concat();
        let nodes = [node("MatMul", &["x", "val_1"], "y"), node("Add", &["y", "dense.bias"], "z")].concat();
        field(7, &[nodes, floats, field(5, &bytes)].concat())
    }

    #[test]
    fn tensors_and_nodes_are_read() {
        let file = file();
        let graph = Graph::new(&file).unwrap();
        assert_eq!(graph.floats("floats", &[1, 2]).unwrap(), [1.0, -2.0]);
        assert_eq!(graph.bytes("bytes", &[1]).unwrap(), [0xff]);
        assert_eq!(graph.matrix_of_bias("dense.bias").unwrap(), "val_1");
    }

    #[test]
    fn what_is_missing_or_of_another_shape_is_named() {
        let file = file();
        let graph = Graph::new(&file).unwrap();
        insta::assert_snapshot!([
            graph.floats("absent", &[1]).unwrap_err(),
            graph.floats("floats", &[2]).unwrap_err(),
            graph.bytes("floats", &[1, 2]).unwrap_err(),
            graph.matrix_of_bias("floats").unwrap_err(),
            Graph::new(&file[..20]).unwrap_err(),
            Graph::new(b"<html>").unwrap_err(),
        ].join("\n"), @"
        it has no tensor `absent`
        tensor `floats` has type 1, shape [1, 2] and 8 bytes, not type 1, shape [2] and 8 bytes
        tensor `floats` has type 1, shape [1, 2] and 8 bytes, not type 3, shape [1, 2] and 2 bytes
        tensor `floats` is not added to a product of matrices
        it is cut off, or not an ONNX file
        a field has the unknown type 4
        ");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..60) {
            let _ = Graph::new(&bytes);
            let mut damaged = file();
            damaged.splice(at..at + 1, bytes.into_iter().take(3));
            let _ = Graph::new(&damaged);
        }
    }
}
