//! That a deployment is fast enough: times are those of the caller, over HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memory_testkit::labelled;
use serde_json::{Value, json};

use super::Deployment;
use super::check::{Check, Verdict};

/// The checks. The first one writes what the others search.
pub const CHECKS: &[Check] = &[
    Check { name: "load", goal: "the memories are written", look: load },
    Check {
        name: "vector search in a user",
        goal: "p99 < 100 ms",
        look: |deployment| search(deployment, Scope::User, By::Vector, 100),
    },
    Check {
        name: "vector search over all",
        goal: "p99 < 100 ms",
        look: |deployment| search(deployment, Scope::All, By::Vector, 100),
    },
    Check {
        name: "recall in a user",
        goal: "by vectors and words, p99 < 150 ms",
        look: |deployment| search(deployment, Scope::User, By::Question, 150),
    },
    Check {
        name: "recall over all",
        goal: "by vectors and words, p99 < 500 ms",
        look: |deployment| search(deployment, Scope::All, By::Question, 500),
    },
    Check { name: "improvement by indexes", goal: ">= 40 % faster than without", look: improvement },
];

const IMPROVEMENT: f64 = 0.4;
/// What most users of an assistant have: tens of memories each.
const USERS: usize = 400;
/// From 10,000 memories on there is a vector index.
const MEMORIES: usize = 12_000;
const MEMORIES_QUICKLY: usize = 1000;
const SEARCHES: usize = 300;
const SEARCHES_QUICKLY: usize = 60;
const BATCH: usize = 500;
/// How often, less one, each statement is repeated to know what indexes give.
const ROUNDS: usize = 20;

/// Where is searched.
#[derive(Debug, Clone, Copy)]
enum Scope {
    User,
    All,
}

/// By what is searched.
#[derive(Debug, Clone, Copy)]
enum By {
    /// By a vector alone, which is given.
    Vector,
    /// By a question, which is embedded, and by its words.
    Question,
}

impl Deployment {
    fn memories(&self) -> usize {
        if self.quick { MEMORIES_QUICKLY } else { MEMORIES }
    }

    fn searches(&self) -> usize {
        if self.quick { SEARCHES_QUICKLY } else { SEARCHES }
    }

    /// A verdict on what was measured, unless it was measured too quickly to judge by.
    fn judged(&self, holds: bool, seen: String) -> Verdict {
        if self.quick { Verdict::Skipped(format!("too little to judge by: {seen}")) } else { Verdict::of(holds, seen) }
    }

    /// The user of a memory or a search of this number.
    fn user_of(&self, number: usize) -> String {
        format!("{}-{}", self.user(), number % USERS)
    }

    /// Searches once, and gives how long it took and what was answered.
    fn timed(&self, corpus: &Corpus, scope: Scope, by: By, number: usize) -> Result<(Duration, Value)> {
        let scope = match scope {
            Scope::User => json!({ "user": self.user_of(number) }),
            Scope::All => json!({}),
        };
        let mut body = json!({ "query": corpus.question(number), "scope": scope, "limit": 10 });
        if let By::Vector = by {
            // Without words there is nothing to look up but the vector.
            body["query"] = json!("?");
            body["embedding"] = corpus.vectors[number % corpus.vectors.len()].clone();
        }
        let begun = Instant::now();
        let found = self.client.post("/v1/memories/search", &body)?.ok()?;
        let took = begun.elapsed();
        found["results"].as_array().filter(|results| !results.is_empty()).context("nothing was found")?;
        Ok((took, found))
    }

    /// How much of the vector index a search looks at; 1 where there is none yet.
    fn effort(&self) -> Result<u64> {
        let (_, found) = self.timed(&Corpus::of_conversations(), Scope::All, By::Question, 0)?;
        let dense = found["arms"].as_array().into_iter().flatten().find(|arm| arm["arm"] == "dense").cloned();
        Ok(dense.and_then(|arm| arm["index"]["effort"].as_u64()).unwrap_or(1))
    }

    /// Vectors of memories that were written, to search by.
    fn vectors(&self) -> Result<Vec<Value>> {
        let page = self.client.get(&format!("/v1/memories?user={}&with_embeddings=true", self.user_of(1)))?.ok()?;
        let memories = page["memories"].as_array().cloned().unwrap_or_default();
        let mut vectors: Vec<Value> = memories.into_iter().map(|mut memory| memory["embedding"].take()).collect();
        vectors.retain(|vector| !vector.is_null());
        if vectors.is_empty() {
            bail!("the memories have no vectors");
        }
        Ok(vectors)
    }
}

/// Texts to write and questions to ask, the same in every run.
struct Corpus {
    words: Vec<String>,
    questions: Vec<String>,
    vectors: Vec<Value>,
}

impl Corpus {
    /// The words of the labelled conversations, each as often as it is there, and the questions about them.
    fn of_conversations() -> Self {
        let turns = labelled::conversations().into_iter().flat_map(|of| of.sessions).flat_map(|session| session.turns);
        let words = turns.flat_map(|turn| turn.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let questions = labelled::questions().into_iter().map(|question| question.question);
        Self { words: words.collect(), questions: questions.collect(), vectors: Vec::new() }
    }

    /// A text of 8 to 23 words.
    fn text(&self, number: usize) -> String {
        // Steps that share no divisor with the number of words come by all of them.
        let word =
            |place: usize| self.words[(number * 7919 + place * (number % 97 + 1) * 31) % self.words.len()].as_str();
        (0..8 + number % 16).map(word).collect::<Vec<_>>().join(" ")
    }

    fn question(&self, number: usize) -> &str {
        &self.questions[number % self.questions.len()]
    }
}

fn load(deployment: &mut Deployment) -> Result<Verdict> {
    let (count, corpus) = (deployment.memories(), Corpus::of_conversations());
    let begun = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let memory = |number| {
            let scope = json!({ "user": deployment.user_of(number) });
            json!({ "text": corpus.text(number), "scope": scope, "metadata": { "verify": deployment.run } })
        };
        let batch: Vec<Value> = (first..(first + BATCH).min(count)).map(memory).collect();
        deployment.client.post("/v1/memories", &json!({ "memories": batch }))?.ok()?;
    }
    let took = begun.elapsed().as_secs_f64();
    if let Some(local) = &deployment.local {
        local.build_indexes()?;
    }
    Ok(Verdict::Pass(format!("{count} in {took:.1} s, {:.0} a second", count as f64 / took)))
}

fn search(deployment: &mut Deployment, scope: Scope, by: By, at_most_ms: u64) -> Result<Verdict> {
    let (count, mut corpus) = (deployment.searches(), Corpus::of_conversations());
    corpus.vectors = deployment.vectors()?;
    // What a first call does once, such as opening connections, is no search.
    for number in 0..count / 10 {
        deployment.timed(&corpus, scope, by, number)?;
    }
    let times = (0..count).map(|number| Ok(deployment.timed(&corpus, scope, by, number)?.0));
    let mut times = times.collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|share| times[(count as f64 * share) as usize]);
    let seen = format!("p50 {}, p99 {} of {count} searches of {} memories", ms(p50), ms(p99), deployment.memories());
    Ok(deployment.judged(p99 < Duration::from_millis(at_most_ms), seen))
}

/// Compares the same statements in the deployment's table and in a copy of it without any index, within one user and over
/// all; the lesser gain counts.
fn improvement(deployment: &mut Deployment) -> Result<Verdict> {
    let Some(local) = &deployment.local else {
        let why = "it takes a copy of the table; `cargo xtask bench store` measures it on a Postgres of its own";
        return Ok(Verdict::Skipped(why.into()));
    };
    let told = local.servers().ask(&both_ways(&deployment.user_of(0), deployment.effort()?))?;
    let times = told.lines().last().unwrap_or_default().split(' ').map(|time| Ok(time.parse::<f64>()?));
    let times = times.collect::<Result<Vec<_>>>().with_context(|| format!("the database answered {told:?}"))?;
    let [user_plain, user, all_plain, all] = times[..] else { bail!("the database answered {told:?}") };
    let saved = |with: f64, without: f64| 1.0 - with / without;
    let (of_user, of_all) = (saved(user, user_plain), saved(all, all_plain));
    let ms = |seconds: f64| ms(Duration::from_secs_f64(seconds));
    let seen = format!(
        "{:.0} % within a user ({} for {}), {:.0} % over all ({} for {})",
        of_user * 100.0,
        ms(user),
        ms(user_plain),
        of_all * 100.0,
        ms(all),
        ms(all_plain)
    );
    Ok(deployment.judged(of_user.min(of_all) >= IMPROVEMENT, seen))
}

/// The medians, in seconds, of finding the ten nearest: within a user without indexes and with them, then the same over all.
/// Both ways take turns. The user's name is made by this program, of letters, digits and dashes.
fn both_ways(user: &str, effort: u64) -> String {
    format!(
        "set ivfflat.probes = {effort}; \
         create temp table plain as select tenant, user_id, id, text, space, embedding, embedding_half, expires_at \
           from orchestra.memories; \
         analyze plain; analyze orchestra.memories; \
         create function pg_temp.medians(condition text) returns text language plpgsql as $$ \
         declare begun timestamptz; query vector; number smallint; plain float8[] := '{{}}'; indexed float8[] := '{{}}'; \
           statement text := 'select id, text from %s where tenant = ''deployment'' and space = %s and ' || condition || \
             ' and (expires_at is null or expires_at > now()) order by \
               (coalesce(embedding, embedding_half::vector)::vector(%s)) <#> $1::vector(%3$s) limit 10'; \
         begin \
           select space into number from plain where space is not null group by space order by count(*) desc limit 1; \
           for round in 0..{ROUNDS} loop \
             select embedding into query from plain where space = number offset round * 11 limit 1; \
             begun := clock_timestamp(); \
             execute format(statement, 'plain', number, vector_dims(query)) using query; \
             plain := plain || extract(epoch from clock_timestamp() - begun)::float8; \
             begun := clock_timestamp(); \
             execute format(statement, 'orchestra.memories', number, vector_dims(query)) using query; \
             indexed := indexed || extract(epoch from clock_timestamp() - begun)::float8; \
           end loop; \
           return (select percentile_cont(0.5) within group (order by took) from unnest(plain) as took) || ' ' || \
             (select percentile_cont(0.5) within group (order by took) from unnest(indexed) as took); end $$; \
         select pg_temp.medians('user_id = ''{user}''') || ' ' || pg_temp.medians('true')"
    )
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
