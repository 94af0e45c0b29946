//! A module's README has an example, and that example is the module's first test: the same text in both.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::terraform::module_folders;
use super::tools::shown;

/// The test that has the example's arguments as its variables.
const TEST: &str = "tests/example.tftest.hcl";

/// Checks every module.
pub fn check() -> Result<()> {
    let modules = module_folders()?;
    for module in &modules {
        same_example(module).with_context(|| shown(module))?;
    }
    eprintln!("readme: the examples of {} modules are their first tests", modules.len());
    Ok(())
}

fn same_example(module: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(module.join(name)).with_context(|| format!("{name} cannot be read"));
    let readme = arguments_of_example(&read("README.md")?).context("README.md has no example of a module in ```hcl")?;
    let tested = body(&read(TEST)?, "variables").with_context(|| format!("{TEST} has no variables"))?;
    if readme != tested {
        bail!("{TEST} and the example in README.md differ:\n{}\n---\n{}", tested.join("\n"), readme.join("\n"));
    }
    Ok(())
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
    let inside = lines.take_while(|line| *line != "}");
    let words = inside.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(words.filter(|line| !line.is_empty()).collect())
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
    fn a_readme_without_example_has_none() {
        assert_eq!(arguments_of_example("# network\n"), None);
    }
}
