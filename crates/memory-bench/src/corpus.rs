//! Texts and vectors in any number, the same in every run.

use memory_testkit::labelled;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        (self.next() % below as u64) as usize
    }

    /// Nearly a standard normal number: twelve uniform ones less six.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

/// Vectors of length 1 around `topics` directions, as embeddings of texts lie: near their topic, and near each other.
pub fn vectors(count: usize, dimensions: usize, topics: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    let centres: Vec<Vec<f32>> = (0..topics).map(|_| (0..dimensions).map(|_| random.normal()).collect()).collect();
    (0..count)
        .map(|_| {
            let centre = &centres[random.below(topics)];
            let vector: Vec<f32> = centre.iter().map(|value| value + random.normal()).collect();
            let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.into_iter().map(|value| value / norm).collect()
        })
        .collect()
}

/// Sentences of 8 to 24 words out of the labelled conversations, common words as common as they are there.
pub fn sentences(count: usize, seed: u64) -> Vec<String> {
    let words: Vec<String> = labelled::conversations()
        .iter()
        .flat_map(|conversation| &conversation.sessions)
        .flat_map(|session| &session.turns)
        .flat_map(|turn| turn.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let length = 8 + random.below(17);
            (0..length).map(|_| words[random.below(words.len())].as_str()).collect::<Vec<_>>().join(" ")
        })
        .collect()
}
