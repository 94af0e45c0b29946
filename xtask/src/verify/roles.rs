//! What Terraform grants, read as text: which roles, and whom workload identity lets in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Deployment;
use super::check::Verdict;
use crate::process::root;

/// The roles that may be granted, a line each, with why.
const ALLOWED: &str = include_str!("allowed_roles.txt");
/// Roles over everything in a project.
const PRIMITIVE: [&str; 3] = ["roles/owner", "roles/editor", "roles/viewer"];

/// The condition of the workload identity provider names numbers, and no key is made anywhere.
pub fn identity(_: &mut Deployment) -> Result<Verdict> {
    let Some(text) = terraform()? else { return Ok(nothing()) };
    Ok(of_identity(&text))
}

/// The roles that are granted are those of the list.
pub fn granted(_: &mut Deployment) -> Result<Verdict> {
    let Some(text) = terraform()? else { return Ok(nothing()) };
    Ok(compared(&text, ALLOWED))
}

fn nothing() -> Verdict {
    Verdict::Skipped("there is no terraform/ in this checkout".into())
}

fn of_identity(text: &str) -> Verdict {
    let wanted = ["assertion.repository_owner_id ==", "assertion.repository_id =="];
    let names = ["assertion.repository ==", "assertion.repository_owner ==", "assertion.sub =="];
    let lacks: Vec<_> = wanted.iter().filter(|claim| !text.contains(*claim)).collect();
    let by_name: Vec<_> = names.iter().filter(|claim| text.contains(*claim)).collect();
    if !text.contains("google_iam_workload_identity_pool_provider") {
        return Verdict::Fail("there is no workload identity provider".into());
    }
    if text.contains("resource \"google_service_account_key\"") {
        return Verdict::Fail("a key of a service account is made".into());
    }
    if !lacks.is_empty() || !by_name.is_empty() {
        return Verdict::Fail(format!("the condition lacks {lacks:?} and goes by names in {by_name:?}"));
    }
    Verdict::Pass("owner and repository by number; no resource makes a key".into())
}

fn compared(text: &str, allowed: &str) -> Verdict {
    let allowed: BTreeSet<&str> = allowed
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|role| !role.is_empty())
        .collect();
    let granted: BTreeSet<&str> = text
        .match_indices("\"roles/")
        .filter_map(|(at, _)| text[at + 1..].split('"').next())
        .filter(|role| !role.contains("${"))
        .collect();
    let more: Vec<_> = granted.iter().filter(|role| !allowed.contains(*role) || PRIMITIVE.contains(role)).collect();
    let unused: Vec<_> = allowed.difference(&granted).collect();
    if !more.is_empty() {
        return Verdict::Fail(format!("granted, and not in the list: {more:?}"));
    }
    let note = if unused.is_empty() { String::new() } else { format!("; in the list and not granted: {unused:?}") };
    Verdict::Pass(format!("{} roles, each in the list{note}", granted.len()))
}

/// Every module and environment as one text, without comments and tests; none where there are none.
fn terraform() -> Result<Option<String>> {
    let folder = root().join("terraform");
    if !folder.exists() {
        return Ok(None);
    }
    let mut text = String::new();
    read(&folder, &mut text)?;
    Ok(Some(text))
}

fn read(folder: &Path, text: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != ".terraform" && name != "tests" {
                read(&path, text)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "tf") {
            let code = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
            text.extend(code.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| [line, "\n"]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_not_in_the_list_is_told() {
        let allowed = "roles/run.invoker # calls the API\nroles/viewer\n";
        assert!(matches!(compared(r#"role = "roles/run.invoker""#, allowed), Verdict::Pass(_)));
        let more = compared(r#"roles = ["roles/run.invoker", "roles/run.admin"]"#, allowed);
        assert_eq!(more, Verdict::Fail(r#"granted, and not in the list: ["roles/run.admin"]"#.into()));
        assert!(matches!(compared(r#"role = "roles/viewer""#, allowed), Verdict::Fail(_)), "never, even if listed");
    }

    #[test]
    fn workload_identity_goes_by_numbers() {
        let provider = "resource \"google_iam_workload_identity_pool_provider\" \"github\" {";
        let by_id = "assertion.repository_owner_id == '1' && assertion.repository_id == '2'";
        assert!(matches!(of_identity(&format!("{provider} {by_id}")), Verdict::Pass(_)));
        let by_name = "assertion.repository == 'a/b'";
        for text in [by_id.to_owned(), format!("{provider} {by_name}"), format!("{provider} {by_id} && {by_name}")] {
            assert!(matches!(of_identity(&text), Verdict::Fail(_)), "{text}");
        }
        let key = format!("{provider} {by_id}\nresource \"google_service_account_key\" \"k\" {{}}");
        assert_eq!(of_identity(&key), Verdict::Fail("a key of a service account is made".into()));
    }
}
