//! A module's README has an example, and that example is the module's first test: the same text in both. So are the values
//! that an environment shows, in `terraform.tfvars.example`. Every setting that Terraform gives the server exists, nothing
//! makes a key, and each rule of policy that is not followed says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::terraform::{environment_folders, module_folders};
use super::tools::shown;
use crate::process::root;

/// The test that has the example's arguments as its variables.
const TEST: &str = "tests/example.tftest.hcl";
const VALUES: &str = "terraform.tfvars.example";
/// Types whose values would be keys or passwords in the state.
const KEYS: &[&str] = &["google_service_account_key", "google_storage_hmac_key", "random_password", "tls_private_key"];
/// The list that the server's settings are made from.
const SETTINGS: &str = "crates/orchestra-api/src/config/list.rs";

/// Checks every module and environment.
pub fn check() -> Result<()> {
    let (modules, environments) = (module_folders()?, environment_folders()?);
    for module in &modules {
        same_example(module, "README.md", arguments_of_example).with_context(|| shown(module))?;
    }
    for environment in &environments {
        same_example(environment, VALUES, |values| Some(words(values.lines()))).with_context(|| shown(environment))?;
    }
    let known = settings_of(&read(&root(), SETTINGS)?);
    let mut given = 0;
    for folder in modules.iter().chain(&environments) {
        let texts = texts_of(folder)?;
        let names: Vec<&str> = texts.iter().flat_map(|text| names_of_settings(text)).collect();
        given += names.len();
        if let Some(key) = texts.iter().find_map(|text| key_made(text)) {
            bail!("{}: {key} puts a key into the state", shown(folder));
        }
        if let Some(skip) = texts.iter().find_map(|text| unexplained_skip(text)) {
            bail!("{}: {skip:?} does not say why, as in checkov:skip=ID:reason", shown(folder));
        }
        if let Some(unknown) = names.iter().find(|name| !known.contains(**name)) {
            bail!("{}: {unknown} is no setting of the server", shown(folder));
        }
    }
    eprintln!(
        "readme: the examples of {} modules and {} environments are their first tests; {given} settings exist",
        modules.len(),
        environments.len()
    );
    Ok(())
}

fn read(folder: &Path, name: &str) -> Result<String> {
    fs::read_to_string(folder.join(name)).with_context(|| format!("{name} cannot be read"))
}

/// The type of a resource or a datum that is a key.
fn key_made(text: &str) -> Option<&'static str> {
    let declared = |line: &str, key: &str| {
        let mut words = line.split_whitespace();
        let kind = words.next();
        matches!(kind, Some("resource" | "data" | "ephemeral")) && words.next() == Some(&format!("{key:?}"))
    };
    KEYS.iter().copied().find(|key| text.lines().any(|line| declared(line, key)))
}

/// A line that skips a rule of policy without a reason.
fn unexplained_skip(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| {
        let skip = line.split_once("checkov:skip=").map(|(_, skip)| skip);
        skip.is_some_and(|skip| skip.split_once(':').is_none_or(|(_, reason)| reason.trim().is_empty()))
    })
}

/// What Terraform reads in a folder, and the example's test.
fn texts_of(folder: &Path) -> Result<Vec<String>> {
    let mut texts = vec![read(folder, TEST)?];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            texts.push(fs::read_to_string(&path)?);
        }
    }
    Ok(texts)
}

fn same_example(folder: &Path, name: &str, example: fn(&str) -> Option<Vec<String>>) -> Result<()> {
    let shown =
        example(&read(folder, name)?).with_context(|| format!("{name} has no example of a module in ```hcl"))?;
    let tested = body(&read(folder, TEST)?, "variables").with_context(|| format!("{TEST} has no variables"))?;
    if shown != tested {
        bail!("{TEST} and the example in {name} differ:\n{}\n---\n{}", tested.join("\n"), shown.join("\n"));
    }
    Ok(())
}

/// The environment variables of the settings in the list: its keys, in capitals and with an underscore for the dot.
fn settings_of(list: &str) -> BTreeSet<String> {
    let quoted = list.split('"').skip(1).step_by(2);
    let is_key = |text: &&str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte))
    };
    quoted.filter(is_key).map(|key| format!("ORCHESTRA_{}", key.replace('.', "_").to_uppercase())).collect()
}

/// The names of settings in a text of Terraform.
fn names_of_settings(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("ORCHESTRA_"))
}

/// The arguments of the module that the first block of HCL calls, without its source.
fn arguments_of_example(readme: &str) -> Option<Vec<String>> {
    let (_, rest) = readme.split_once("```hcl\n")?;
    let (example, _) = rest.split_once("```")?;
    let mut lines = body(example, "module")?;
    lines.retain(|line| !line.starts_with("source = "));
    Some(lines)
}

/// The lines in the first block of this kind, without blank ones and with one space where there are more: arguments are
/// aligned to those around them, which differ.
fn body(text: &str, kind: &str) -> Option<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(kind) || !line.ends_with('{'));
    lines.next()?;
    Some(words(lines.take_while(|line| *line != "}")))
}

fn words<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = lines.filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "\
# network

```hcl
module \"network\" {
  source = \"../network\"

  region     = \"us-central1\"
  labels = {
    system = \"orchestra\"
  }
}
```
";

    #[test]
    fn an_example_is_compared_without_its_source_and_alignment() {
        let test = "mock_provider \"google\" {}\n\nvariables {\n  region = \"us-central1\"\n  labels = {\n    system = \
                    \"orchestra\"\n  }\n}\n";
        assert_eq!(arguments_of_example(README), body(test, "variables"));
        let other = test.replace("us-central1", "europe-west1");
        assert_ne!(arguments_of_example(README), body(&other, "variables"));
    }

    #[test]
    fn settings_are_known_by_their_variables() {
        let known =
            settings_of("secret(\"redis.url\", \"redis:// or so\"),\n bool(\"alloydb.high_availability\", \"…\")");
        let named: Vec<&str> = names_of_settings("ORCHESTRA_REDIS_URL = 1\n\"ORCHESTRA_REDIS_URI\"").collect();
        assert!(known.contains(named[0]) && known.contains("ORCHESTRA_ALLOYDB_HIGH_AVAILABILITY"));
        assert!(!known.contains(named[1]));
    }

    #[test]
    fn keys_and_unexplained_skips_are_found() {
        assert_eq!(key_made("resource \"google_service_account\" \"a\" {\n"), None);
        let key = "resource \"google_service_account_key\" \"a\" {\n";
        assert_eq!(key_made(key), Some("google_service_account_key"));
        assert_eq!(unexplained_skip("  # checkov:skip=CKV_GCP_83:messages hold no value\n"), None);
        for skip in ["# checkov:skip=CKV_GCP_83", "# checkov:skip=CKV_GCP_83: "] {
            assert_eq!(unexplained_skip(skip), Some(skip.trim()));
        }
    }

    #[test]
    fn a_readme_without_example_has_none() {
        assert_eq!(arguments_of_example("# network\n"), None);
    }
}
