//! The settings about traces, with the variables that OpenTelemetry names for all programs.

use std::ffi::OsString;

use memory_core::Result;

use super::setting::Value;
use super::values::Values;
use crate::traces::TraceSettings;

const ENDPOINT: &str = "telemetry.otlp_endpoint";
/// The path of traces, below the URL of a collector.
const PATH: &str = "/v1/traces";

/// Takes the collector that the environment names for all programs, where none was given to this one.
pub fn decide(values: &mut Values, variable: impl Fn(&str) -> Option<OsString>) {
    // A program that cannot send traces is no reason not to set them for all.
    if values.is_given(ENDPOINT) || !cfg!(feature = "otlp") {
        return;
    }
    let text = |name| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    let traces = text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    if let Some(endpoint) = traces.or_else(|| text("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| below(&base))) {
        values.decide(ENDPOINT, Value::Text(endpoint));
    }
}

/// What the values come to.
pub fn settings(values: &Values) -> TraceSettings {
    let endpoint = values.get::<String>(ENDPOINT);
    let is_base = values.is_given(ENDPOINT);
    TraceSettings {
        endpoint: endpoint.map(|endpoint| if is_base { below(&endpoint) } else { endpoint }),
        sample_ratio: values.of("telemetry.sample_ratio"),
    }
}

/// Checks them.
pub fn check(values: &Values, settings: &TraceSettings) -> Result<()> {
    settings.check(&values.place(ENDPOINT))
}

fn below(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

#[cfg(test)]
mod tests {
    use super::super::{ServerArgs, Settings};
    use super::*;

    const OURS: &str = "ORCHESTRA_TELEMETRY_OTLP_ENDPOINT";
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    fn endpoint(variables: &[(&str, &str)]) -> Result<Option<String>> {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/ann".into()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)),
        };
        let settings = Settings::from_args_and_environment(&ServerArgs::default(), variable, None)?;
        Ok(settings.traces.endpoint)
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn our_setting_goes_before_the_variable_of_traces_and_that_before_the_one_of_all() {
        let of = |variables: &[(&str, &str)]| endpoint(variables).unwrap();
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(ALL, "http://all:4318/")]).as_deref(), Some("http://all:4318/v1/traces"));
        assert_eq!(of(&[(ALL, "http://all"), (TRACES, "http://t/as/it/is")]).as_deref(), Some("http://t/as/it/is"));
        let ours = [(ALL, "http://all"), (TRACES, "http://t"), (OURS, "http://ours:4318")];
        assert_eq!(of(&ours).as_deref(), Some("http://ours:4318/v1/traces"));
        assert_eq!(of(&[(OURS, "http://ours/v1/traces")]).as_deref(), Some("http://ours/v1/traces"));
        let error = endpoint(&[(OURS, "collector:4317")]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{OURS}: given collector:4317/v1/traces, allowed: the URL of a collector, such as http://127.0.0.1:4318"
            )
        );
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_program_that_sends_no_traces_says_so() {
        let error = endpoint(&[(OURS, "http://ours:4318")]).unwrap_err().to_string();
        assert!(error.starts_with(OURS) && error.contains("without the feature otlp"), "{error}");
        assert_eq!(endpoint(&[(ALL, "http://all")]).unwrap(), None, "what is set for all programs is no mistake");
    }
}
