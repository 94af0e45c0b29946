//! Which scopes a search is of.

use super::SearchRequest;
use crate::{Error, Result, Scope};

/// The most scopes that are searched together.
pub const MAX_SCOPES: usize = 32;

impl SearchRequest {
    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.candidates == 0 {
            return Err(Error::invalid("candidates", 0, "at least 1"));
        }
        check_also(&self.scope, &self.also)
    }

    /// The scopes that are searched, in order, each once and none that is inside another.
    #[must_use]
    pub fn scopes(&self) -> Vec<&Scope> {
        let mut all: Vec<&Scope> = self.also.iter().chain([&self.scope]).collect();
        all.sort_unstable();
        all.dedup();
        let is_widest = |scope: &&Scope| !all.iter().any(|other| other != scope && other.covers(scope));
        all.iter().copied().filter(is_widest).collect()
    }

    /// Whether one of the scopes sees what was written in `written`.
    #[must_use]
    pub fn covers(&self, written: &Scope) -> bool {
        self.scope.covers(written) || self.also.iter().any(|scope| scope.covers(written))
    }
}

/// Refuses scopes that are not searched together with `scope`: those of another tenant, and too many.
///
/// # Errors
/// [`Error::Invalid`], naming `also` or one of its elements.
pub fn check_also(scope: &Scope, also: &[Scope]) -> Result<()> {
    if also.len() >= MAX_SCOPES {
        let given = format!("{} scopes", also.len());
        return Err(Error::invalid("also", given, format!("at most {} beside scope", MAX_SCOPES - 1)));
    }
    match also.iter().position(|other| other.tenant_name() != scope.tenant_name()) {
        None => Ok(()),
        Some(at) => {
            let allowed = format!("{}, the tenant of scope", scope.tenant_name());
            Err(Error::invalid(format!("also[{at}].tenant"), also[at].tenant_name(), allowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scope: Scope, also: Vec<Scope>) -> SearchRequest {
        SearchRequest {
            scope,
            also,
            embedding: None,
            text: None,
            filter: None,
            candidates: 1,
            neighbours: false,
            at_least: None,
            as_of: None,
            best: None,
        }
    }

    #[test]
    fn a_scope_inside_another_is_not_searched_again() {
        let acme = Scope::tenant("acme").unwrap();
        let ann = acme.clone().with_user("ann").unwrap();
        let bob = acme.clone().with_user("bob").unwrap();
        let ann_monday = ann.clone().with_session("monday").unwrap();
        let monday = acme.clone().with_session("monday").unwrap();
        let scopes = |scope: &Scope, also: &[&Scope]| {
            let also = also.iter().map(|&scope| scope.clone()).collect();
            let request = request(scope.clone(), also);
            request.scopes().into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(scopes(&ann, &[]), std::slice::from_ref(&ann));
        assert_eq!(scopes(&bob, &[&ann, &bob, &ann_monday]), [ann.clone(), bob.clone()]);
        assert_eq!(scopes(&ann, &[&monday]), [monday.clone(), ann.clone()], "they overlap, and neither is inside");
        assert_eq!(scopes(&ann, &[&acme, &monday]), [acme]);
        let request = request(ann.clone(), vec![monday.clone()]);
        assert!(request.covers(&ann_monday) && request.covers(&bob.clone().with_session("monday").unwrap()));
        assert!(!request.covers(&bob));
    }

    #[test]
    fn scopes_searched_together_are_few_and_of_one_tenant() {
        let acme = Scope::tenant("acme").unwrap();
        let of =
            |count: usize| (0..count).map(|at| acme.clone().with_user(at.to_string()).unwrap()).collect::<Vec<_>>();
        assert!(request(acme.clone(), of(MAX_SCOPES - 1)).validate().is_ok());
        let many = request(acme.clone(), of(MAX_SCOPES)).validate().unwrap_err();
        assert_eq!(many.to_string(), "also: given 32 scopes, allowed: at most 31 beside scope");
        let stranger = Scope::tenant("globex").unwrap();
        let error = request(acme.clone(), vec![acme.clone(), stranger]).validate().unwrap_err();
        assert_eq!(error.to_string(), "also[1].tenant: given globex, allowed: acme, the tenant of scope");
    }
}
