//! Which node of a cluster has which slot, from what a node says.

use redis::{ConnectionAddr, Value};

use crate::query::text;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub host: String,
    pub port: u16,
}

impl Node {
    /// From `host:port`, an IPv6 address in brackets.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok()?;
        (!host.is_empty() && !host.contains(['/', '@'])).then(|| Self { host: host.to_owned(), port })
    }

    /// The node behind an address; `None` for a socket of this machine, which no cluster has.
    pub(crate) fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }

    /// The same way of connecting, to this node.
    pub(crate) fn address(&self, like: &ConnectionAddr) -> ConnectionAddr {
        let mut address = like.clone();
        if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut address {
            (*host, *port) = (self.host.clone(), self.port);
        }
        address
    }
}

/// The slots and their masters.
#[derive(Debug, Default)]
pub(crate) struct Topology(Vec<(u16, u16, Node)>);

impl Topology {
    /// Reads the answer to `CLUSTER SLOTS` of the node `asked`. What has no address is left out.
    pub(crate) fn read(answer: &Value, asked: &Node) -> Self {
        let number = |value: &Value| match value {
            Value::Int(number) => u16::try_from(*number).ok(),
            _ => None,
        };
        let range = |range: &Value| {
            let Value::Array(range) = range else { return None };
            let [first, last, Value::Array(master), ..] = range.as_slice() else { return None };
            let host = match master.first()? {
                // A node that does not know its own address is where it was asked.
                Value::Nil => asked.host.clone(),
                host => match text(host)? {
                    "" => asked.host.clone(),
                    "?" => return None,
                    host => host.to_owned(),
                },
            };
            Some((number(first)?, number(last)?, Node { host, port: number(master.get(1)?)? }))
        };
        let Value::Array(ranges) = answer else { return Self::default() };
        Self(ranges.iter().filter_map(range).collect())
    }

    /// Who has a slot, unless nobody has.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Node> {
        self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., node)| node)
    }

    /// Every master, as often as it has ranges.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().map(|(.., node)| node)
    }
}

/// The slot of a key: of what stands in its first braces, if there is something.
pub(crate) fn slot(key: &str) -> u16 {
    let hashed = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(hashed.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as the cluster's specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // As CLUSTER KEYSLOT answers.
        assert_eq!((slot("foo"), slot("bar"), slot("{foo}.x"), slot("a{foo}{bar}")), (12182, 5061, 12182, 12182));
        assert_eq!(slot("{}foo"), crc16(b"{}foo") % SLOTS);
    }

    #[test]
    fn an_answer_is_read_and_gaps_are_left() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let range = |first, last, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(vec![])]);
            let replica = Value::Array(vec![bulk("10.0.0.9"), Value::Int(1), bulk("other")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let answer = Value::Array(vec![
            range(0, 5, bulk("10.0.0.1"), 7000),
            range(6, 6, bulk(""), 7001),
            range(7, 7, Value::Nil, 7002),
            range(8, 9, bulk("?"), 7003),
            range(11, 12, bulk("10.0.0.3"), 99_999),
            Value::Int(3),
        ]);
        let topology = Topology::read(&answer, &Node { host: "seed".into(), port: 1 });
        let owner = |slot| topology.owner(slot).map(|node| format!("{}:{}", node.host, node.port));
        assert_eq!(owner(5).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(6).as_deref(), Some("seed:7001"));
        assert_eq!(owner(7).as_deref(), Some("seed:7002"));
        assert!([8, 10, 11, 16_383].into_iter().all(|slot| owner(slot).is_none()));
        assert_eq!(topology.nodes().count(), 3);
        assert!(Topology::read(&Value::Nil, &Node { host: "seed".into(), port: 1 }).owner(0).is_none());
    }

    #[test]
    fn addresses_are_read() {
        let node = |address| Node::parse(address).map(|node| (node.host, node.port));
        assert_eq!(node("redis-1.internal:6379"), Some(("redis-1.internal".into(), 6379)));
        assert_eq!(node("[::1]:7000"), Some(("::1".into(), 7000)));
        for wrong in ["", "redis", ":1", "redis:", "redis:99999", "redis://a:1", "user@a:1"] {
            assert_eq!(node(wrong), None, "{wrong}");
        }
    }
}
