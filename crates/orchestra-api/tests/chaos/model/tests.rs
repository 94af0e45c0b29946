//! Made-up histories: each violation is reported, and what is lawful is not.

use super::{Kind, Model, View};
use crate::name::Name;

const NAME: Name = Name { tenant: 0, worker: 1, number: 7 };
const OTHER: Name = Name { tenant: 0, worker: 1, number: 8 };

impl Model {
    /// A memory with one acknowledged attempt.
    fn with_one() -> Self {
        let mut model = Self::default();
        model.written_and_known(NAME);
        model
    }

    fn written_and_known(&mut self, name: Name) {
        let attempt = self.write_sent(name);
        self.write_known(name, attempt, &format!("id of {name}"), true);
    }

    fn sees(&mut self, attempt: usize) {
        let view = View::Since(self.now());
        self.sees_since(attempt, view);
    }

    fn sees_since(&mut self, attempt: usize, view: View) {
        self.saw(NAME.tenant, &format!("id of {NAME}"), &NAME.text(attempt, "tea"), view, "get");
    }

    fn misses(&mut self) {
        let view = View::Since(self.now());
        self.missed(NAME, view, "get");
    }

    fn is_served(&mut self, attempt: usize) {
        let since = self.now();
        self.hit(NAME.tenant, NAME, &NAME.text(attempt, ""), since, false, "lookup");
    }

    fn kinds(&self) -> Vec<Kind> {
        self.violations().iter().map(|violation| violation.kind).collect()
    }
}

#[test]
fn what_is_as_acknowledged_is_no_violation() {
    let mut model = Model::with_one();
    model.sees(1);
    let second = model.write_sent(NAME);
    model.sees(1);
    model.write_known(NAME, second, &format!("id of {NAME}"), true);
    model.sees(2);
    model.is_served(2);
    model.delete_sent(NAME);
    model.sees(2);
    model.delete_known(NAME, true);
    model.misses();
    assert_eq!(model.kinds(), []);
}

#[test]
fn an_acknowledged_write_that_is_not_there_is_lost() {
    let mut model = Model::with_one();
    model.misses();
    assert_eq!(model.kinds(), [Kind::Lost]);
}

#[test]
fn a_write_in_doubt_may_be_there_or_not_until_it_was_seen() {
    let mut model = Model::default();
    let attempt = model.write_sent(NAME);
    model.misses();
    model.sees(attempt);
    assert_eq!(model.kinds(), []);
    model.misses();
    assert_eq!(model.kinds(), [Kind::Lost], "what was seen once does not go by itself");
}

#[test]
fn what_was_forgotten_and_is_there_is_resurrected() {
    let mut model = Model::with_one();
    model.delete_sent(NAME);
    model.delete_known(NAME, true);
    model.sees(1);
    let view = View::Since(model.now());
    model.saw_former(NAME.tenant, &format!("id of {NAME}"), &NAME.text(1, "tea"), view, "history");
    model.is_served(1);
    assert_eq!(model.kinds(), [Kind::Resurrected; 3]);
}

#[test]
fn a_deletion_in_doubt_counts_once_it_was_seen_to_be_done() {
    let mut model = Model::with_one();
    model.delete_sent(NAME);
    model.sees(1);
    model.misses();
    assert_eq!(model.kinds(), []);
    model.sees(1);
    assert_eq!(model.kinds(), [Kind::Resurrected]);
}

#[test]
fn a_former_text_is_stale_where_the_later_one_must_be_seen() {
    let mut model = Model::with_one();
    let before = View::Since(model.now());
    model.written_and_known(NAME);
    model.sees_since(1, before);
    model.sees_since(1, View::Anything);
    let view = View::Since(model.now());
    model.saw_former(NAME.tenant, &format!("id of {NAME}"), &NAME.text(1, "tea"), view, "history");
    assert_eq!(model.kinds(), []);
    model.sees(1);
    assert_eq!(model.kinds(), [Kind::Stale]);
}

#[test]
fn a_change_in_doubt_that_was_seen_does_not_go_back() {
    let mut model = Model::with_one();
    let second = model.write_sent(NAME);
    model.sees(1);
    model.sees(second);
    assert_eq!(model.kinds(), []);
    model.sees(1);
    assert_eq!(model.kinds(), [Kind::Stale]);
}

#[test]
fn a_refused_write_that_is_there_is_invented() {
    let mut model = Model::with_one();
    let second = model.write_sent(NAME);
    model.write_void(NAME, second);
    model.sees(second);
    model.sees(9);
    assert_eq!(model.kinds(), [Kind::Invented; 2]);
}

#[test]
fn another_tenants_text_is_leaked() {
    let mut model = Model::with_one();
    let since = model.now();
    model.saw(1, "any", &NAME.text(1, "tea"), View::Since(since), "search");
    model.hit(1, Name { tenant: 1, ..NAME }, &NAME.text(1, ""), since, false, "lookup");
    assert_eq!(model.kinds(), [Kind::Leaked; 2]);
}

#[test]
fn one_write_with_two_ids_is_duplicated() {
    let mut model = Model::with_one();
    let view = View::Since(model.now());
    model.saw(NAME.tenant, "another id", &NAME.text(1, "tea"), view, "list");
    assert_eq!(model.kinds(), [Kind::Duplicated]);
}

#[test]
fn a_part_of_a_batch_is_torn() {
    let mut model = Model::default();
    for name in [NAME, OTHER] {
        model.write_sent(name);
    }
    model.batch_sent(&[NAME, OTHER]);
    model.sees(1);
    let view = View::Since(model.now());
    model.check_batches(view);
    assert_eq!(model.kinds(), [Kind::Torn]);
}

#[test]
fn an_answer_is_stale_from_the_acknowledgement_on_that_promised_it_gone() {
    let mut model = Model::with_one();
    model.answer_sent(NAME);
    let second = model.write_sent(NAME);
    model.sees(second);
    model.is_served(1);
    assert_eq!((model.kinds(), model.late_answers()), (vec![], 1), "nobody promised it yet");
    let before = model.now();
    model.write_known(NAME, second, &format!("id of {NAME}"), true);
    model.hit(NAME.tenant, NAME, &NAME.text(1, ""), before, false, "lookup");
    assert_eq!(model.kinds(), [], "it was asked for before");
    model.is_served(1);
    assert_eq!(model.kinds(), [Kind::Stale]);
}

#[test]
fn an_answer_whose_invalidation_is_pending_is_stale_when_all_is_settled() {
    let mut model = Model::with_one();
    model.delete_sent(NAME);
    model.delete_known(NAME, false);
    model.is_served(1);
    assert_eq!(model.kinds(), []);
    let since = model.now();
    model.hit(NAME.tenant, NAME, &NAME.text(1, ""), since, true, "lookup");
    assert_eq!(model.kinds(), [Kind::Resurrected]);
}

#[test]
fn an_answer_to_another_question_is_invented() {
    let mut model = Model::with_one();
    model.written_and_known(OTHER);
    let since = model.now();
    model.hit(NAME.tenant, OTHER, &NAME.text(1, ""), since, false, "lookup");
    assert_eq!(model.kinds(), [Kind::Invented]);
}
