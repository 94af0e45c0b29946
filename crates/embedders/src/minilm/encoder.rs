//! The transformer: BERT with six layers, as the paper draws it.

use super::activations::{LayerNorm, gelu, softmax};
use super::linear::{Codes, Linear};
use super::onnx::Graph;

/// Values of a vector.
pub(super) const WIDTH: usize = 384;
/// The most word pieces of a text, `[CLS]` and `[SEP]` among them: the length the model was made for.
pub(super) const MAX_PIECES: usize = 256;

const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD_WIDTH: usize = WIDTH / HEADS;
const INNER_WIDTH: usize = 1536;
const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;

/// The model's weights.
pub(super) struct Encoder {
    words: Table,
    positions: Table,
    /// The vector that every piece of a single text gets.
    token_type: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

/// Rows of signed bytes, each with a scale.
struct Table {
    rows: Vec<i8>,
    scales: Vec<f32>,
}

struct Layer {
    /// Query, key and value of each piece, one after the other.
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Encoder {
    /// Takes the weights out of the model's file. The error says what is wrong with it.
    pub(super) fn new(graph: &Graph<'_>) -> Result<Self, String> {
        let token_types = graph.floats("inner.embeddings.token_type_embeddings.weight", &[2, WIDTH])?;
        Ok(Self {
            words: Table::new(graph, "inner.embeddings.word_embeddings.weight", VOCABULARY)?,
            positions: Table::new(graph, "inner.embeddings.position_embeddings.weight", POSITIONS)?,
            token_type: token_types[..WIDTH].to_vec(),
            norm: layer_norm(graph, "inner.embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|number| Layer::new(graph, number)).collect::<Result<_, _>>()?,
        })
    }

    /// The mean over the pieces of each text, in the order of the texts. A text has 1 to [`MAX_PIECES`] pieces, each with
    /// a number below that of the vocabulary's end.
    ///
    /// What a text gives does not depend on the others, to the bit.
    pub(super) fn means(&self, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn with_avx2(encoder: &Encoder, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
                encoder.means_portable(texts)
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                #[expect(unsafe_code, reason = "the feature was detected in the line above")]
                // SAFETY: `with_avx2` is safe code that only needs the CPU to have AVX2, which it has.
                return unsafe { with_avx2(self, texts) };
            }
        }
        self.means_portable(texts)
    }

    /// Inlined into each clone, with all it calls, so that it is compiled for that clone's instructions.
    #[inline(always)]
    fn means_portable(&self, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let mut hidden = self.embed(texts);
        let mut codes = Codes::default();
        let (mut query_key_value, mut wide, mut narrow) = (Vec::new(), Vec::new(), Vec::new());
        let mut context = vec![0.0; hidden.len()];
        let mut attention = Attention::default();
        for layer in &self.layers {
            codes.round(&hidden, WIDTH);
            layer.query_key_value.apply(&codes, &mut query_key_value);
            let mut start = 0;
            for text in texts {
                let end = start + text.len();
                let rows = &query_key_value[start * 3 * WIDTH..end * 3 * WIDTH];
                attention.apply(rows, &mut context[start * WIDTH..end * WIDTH]);
                start = end;
            }
            codes.round(&context, WIDTH);
            layer.attention_output.apply(&codes, &mut narrow);
            add(&mut hidden, &narrow);
            layer.attention_norm.apply(&mut hidden);

            codes.round(&hidden, WIDTH);
            layer.intermediate.apply(&codes, &mut wide);
            gelu(&mut wide);
            codes.round(&wide, INNER_WIDTH);
            layer.output.apply(&codes, &mut narrow);
            add(&mut hidden, &narrow);
            layer.output_norm.apply(&mut hidden);
        }
        let mut rows = hidden.chunks_exact(WIDTH);
        texts.iter().map(|text| mean(rows.by_ref().take(text.len()), text.len())).collect()
    }

    #[inline(always)]
    fn embed(&self, texts: &[Vec<u32>]) -> Vec<f32> {
        let mut hidden = Vec::with_capacity(texts.iter().map(Vec::len).sum::<usize>() * WIDTH);
        for text in texts {
            for (position, &id) in text.iter().enumerate() {
                let (word, word_scale) = self.words.row(id as usize);
                let (place, place_scale) = self.positions.row(position);
                hidden.extend(word.iter().zip(place).zip(&self.token_type).map(|((&word, &place), token_type)| {
                    f32::from(word) * word_scale + token_type + f32::from(place) * place_scale
                }));
            }
        }
        self.norm.apply(&mut hidden);
        hidden
    }
}

impl Table {
    fn new(graph: &Graph<'_>, name: &str, rows: usize) -> Result<Self, String> {
        let bytes = graph.bytes(&format!("{name}_q"), &[rows, WIDTH])?;
        let scales = graph.floats(&format!("{name}_scale"), &[rows, 1])?;
        Ok(Self { rows: bytes.iter().map(|byte| byte.cast_signed()).collect(), scales })
    }

    fn row(&self, at: usize) -> (&[i8], f32) {
        (&self.rows[at * WIDTH..(at + 1) * WIDTH], self.scales[at])
    }
}

impl Layer {
    fn new(graph: &Graph<'_>, number: usize) -> Result<Self, String> {
        let name = |part: &str| format!("inner.encoder.layer.{number}.{part}");
        let linear = |part: &str, inputs, outputs| linear(graph, &name(part), inputs, outputs);
        let of_attention =
            ["query", "key", "value"].map(|part| linear(&format!("attention.self.{part}"), WIDTH, WIDTH));
        Ok(Self {
            query_key_value: Linear::joined(of_attention.into_iter().collect::<Result<Vec<_>, _>>()?),
            attention_output: linear("attention.output.dense", WIDTH, WIDTH)?,
            attention_norm: layer_norm(graph, &name("attention.output.LayerNorm"))?,
            intermediate: linear("intermediate.dense", WIDTH, INNER_WIDTH)?,
            output: linear("output.dense", INNER_WIDTH, WIDTH)?,
            output_norm: layer_norm(graph, &name("output.LayerNorm"))?,
        })
    }
}

fn linear(graph: &Graph<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Linear, String> {
    let bias_name = format!("{name}.bias");
    let matrix = graph.matrix_of_bias(&bias_name)?;
    let weights = graph.bytes(&format!("{matrix}_q"), &[inputs, outputs])?;
    let scales = graph.floats(&format!("{matrix}_scale"), &[1, outputs])?;
    Ok(Linear::new(weights, scales, graph.floats(&bias_name, &[outputs])?))
}

fn layer_norm(graph: &Graph<'_>, name: &str) -> Result<LayerNorm, String> {
    let values = |part| graph.floats(&format!("{name}.{part}"), &[WIDTH]);
    Ok(LayerNorm { weight: values("weight")?, bias: values("bias")? })
}

/// Keys that are compared side by side.
const LANES: usize = 16;

/// Attention of the pieces of one text to each other. It keeps its memory between calls.
#[derive(Default)]
struct Attention {
    /// The keys of one head, turned: in runs of [`LANES`] keys, first the first value of each, then the second...
    keys: Vec<[f32; LANES]>,
    scores: Vec<[f32; LANES]>,
}

impl Attention {
    /// Writes what each piece takes from all of them. `rows` holds query, key and value of each.
    #[inline(always)]
    fn apply(&mut self, rows: &[f32], context: &mut [f32]) {
        let pieces = context.len() / WIDTH;
        let runs = pieces.div_ceil(LANES);
        self.scores.resize(runs, [0.0; LANES]);
        let factor = 1.0 / (HEAD_WIDTH as f32).sqrt();
        for head in 0..HEADS {
            let of_head = |piece: usize, part: usize| -> &[f32; HEAD_WIDTH] {
                let start = (3 * piece + part) * WIDTH + head * HEAD_WIDTH;
                rows[start..].first_chunk().expect("a row has three times the width")
            };
            self.keys.clear();
            self.keys.resize(runs * HEAD_WIDTH, [0.0; LANES]);
            for piece in 0..pieces {
                for (at, value) in of_head(piece, 1).iter().enumerate() {
                    self.keys[piece / LANES * HEAD_WIDTH + at][piece % LANES] = *value;
                }
            }
            for piece in 0..pieces {
                let query = of_head(piece, 0).map(|value| value * factor);
                for (scores, keys) in self.scores.iter_mut().zip(self.keys.chunks_exact(HEAD_WIDTH)) {
                    let mut sums = [0.0; LANES];
                    for (value, keys) in query.iter().zip(keys) {
                        for lane in 0..LANES {
                            sums[lane] += value * keys[lane];
                        }
                    }
                    *scores = sums;
                }
                let scores = self.scores.as_flattened_mut();
                // Past the last piece there is nothing to attend to.
                scores[pieces..].fill(f32::MIN);
                softmax(scores);
                let mut sums = [0.0; HEAD_WIDTH];
                for (other, share) in scores[..pieces].iter().enumerate() {
                    for (sum, value) in sums.iter_mut().zip(of_head(other, 2)) {
                        *sum += share * value;
                    }
                }
                context[piece * WIDTH + head * HEAD_WIDTH..][..HEAD_WIDTH].copy_from_slice(&sums);
            }
        }
    }
}

#[inline(always)]
fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

#[inline(always)]
fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, count: usize) -> Vec<f32> {
    let mut sums = vec![0.0; WIDTH];
    rows.for_each(|row| add(&mut sums, row));
    sums.iter().map(|sum| sum / count as f32).collect()
}
