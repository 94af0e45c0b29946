//! JSON documents read one element at a time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Broken, Flow, Place};

/// Where the elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// The document is the only element.
    One,
    /// The document is a list of elements.
    List,
    /// The document is an object and this member is the list.
    Member(&'a str),
}

/// Gives every element of the document, with its index, to `each`, until that breaks off.
///
/// # Errors
/// Where the document is not JSON of this shape. Elements before that place were given out.
pub(super) fn elements<'de, T: Deserialize<'de>>(
    text: &'de str,
    shape: Shape<'_>,
    each: &mut dyn FnMut(usize, T) -> Flow,
) -> Result<Flow, Broken> {
    let mut stopped = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = {
        let mut reader = Reader { each, stopped: &mut stopped, of: PhantomData };
        match shape {
            Shape::One => T::deserialize(&mut deserializer).and_then(|element| reader.give(0, element)),
            Shape::List => deserializer.deserialize_seq(&mut reader),
            Shape::Member(name) => deserializer.deserialize_map(Member { name, reader: &mut reader }),
        }
    };
    match result.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(_) if stopped => Ok(ControlFlow::Break(())),
        Err(error) => Err(broken(&error)),
    }
}

/// A broken place from what the JSON reader says, for a document that begins at line 1.
pub(super) fn broken(error: &serde_json::Error) -> Broken {
    Broken::new(Place { line: error.line().max(1), column: error.column().max(1) }, without_place(error)).fatal()
}

/// What the JSON reader says, without the place it ends with.
pub(super) fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rfind(" at line ").map_or_else(|| message.clone(), |end| message[..end].to_owned())
}

struct Reader<'a, T> {
    each: &'a mut dyn FnMut(usize, T) -> Flow,
    stopped: &'a mut bool,
    of: PhantomData<T>,
}

impl<T> Reader<'_, T> {
    fn give<E: serde::de::Error>(&mut self, index: usize, element: T) -> Result<(), E> {
        if (self.each)(index, element).is_break() {
            *self.stopped = true;
            return Err(E::custom("stopped"));
        }
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for &mut Reader<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = list.next_element()? {
            self.give(index, element)?;
            index += 1;
        }
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for &mut Reader<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

struct Member<'a, 'b, T> {
    name: &'a str,
    reader: &'a mut Reader<'b, T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Member<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member {:?}", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = members.next_key::<String>()? {
            if key == self.name {
                found = true;
                members.next_value_seed(&mut *self.reader)?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::custom(format!("missing member {:?}", self.name))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str, shape: Shape<'_>, at_most: usize) -> Result<Vec<u32>, Broken> {
        let mut all = Vec::new();
        let _ = elements(text, shape, &mut |_, number: u32| {
            all.push(number);
            if all.len() == at_most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(all)
    }

    #[test]
    fn elements_come_from_each_shape() {
        assert_eq!(numbers("[1, 2, 3]", Shape::List, 9).unwrap(), [1, 2, 3]);
        assert_eq!(numbers(r#"{"a": [0], "b": [1, 2]}"#, Shape::Member("b"), 9).unwrap(), [1, 2]);
        assert_eq!(numbers("7", Shape::One, 9).unwrap(), [7]);
        assert_eq!(numbers("[1, 2, broken", Shape::List, 2).unwrap(), [1, 2], "what comes after a stop is not read");
    }

    #[test]
    fn a_mistake_has_its_place() {
        let broken = numbers("[1,\n  \"two\"]", Shape::List, 9).unwrap_err();
        assert_eq!(broken.place, Some(Place { line: 2, column: 7 }));
        assert_eq!(broken.message, "invalid type: string \"two\", expected u32");
        assert!(numbers("{}", Shape::Member("b"), 9).unwrap_err().message.contains("missing member"));
        assert!(numbers("[1] 2", Shape::List, 9).unwrap_err().message.contains("trailing"));
    }
}
