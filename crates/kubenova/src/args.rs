//! What can be said on the command line and in the environment. No I/O.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

/// The words after `kubenova`.
#[derive(Debug, Parser)]
#[command(name = "kubenova", version, about, long_about = None)]
#[command(
    about = "Tenants, projects, sandboxes and apps on Kubernetes, with Capsule and KubeVela underneath"
)]
#[command(after_help = "\
Examples:
  kubenova operator --log-format pretty      run the operator against the current kubeconfig context
  kubenova crds | kubectl apply --server-side -f -
                                             install the custom resource definitions

`kubenova <COMMAND> --help` shows more.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What this program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until SIGTERM or SIGINT
    Operator(OperatorArgs),
    /// Print the custom resource definitions as YAML
    Crds(CrdsArgs),
    /// Write what is generated: definitions and reference pages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// How the operator is run.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Environment, besides what is named above:
  KUBECONFIG                    the cluster to work on; in a pod, its service account is used
  OTEL_EXPORTER_OTLP_ENDPOINT   where traces are sent, by OTLP over HTTP (port 4318 as a rule)
  OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER
                                as OpenTelemetry defines them

The first SIGTERM or SIGINT finishes what is in flight, in 10 s at most.
A second one ends the program at once.

Examples:
  kubenova operator
  kubenova operator --log-format pretty --listen 127.0.0.1:8080
  RUST_LOG=info,nova_operator=debug kubenova operator
  KUBECONFIG=./operator.kubeconfig kubenova operator --listen 127.0.0.1:0
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 kubenova operator
  curl -s localhost:8080/readyz                 whether it works, and if not, why")]
pub struct OperatorArgs {
    /// How log lines look; they go to standard error
    #[arg(long, value_enum, default_value_t, env = "KUBENOVA_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module, such as `info,nova_operator=debug`
    #[arg(long, default_value = DEFAULT_FILTER, value_parser = filter, env = "RUST_LOG")]
    pub log_filter: String,

    /// Where `/metrics`, `/livez` and `/readyz` are served; port 0 takes a free one and logs it
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT", env = "KUBENOVA_LISTEN")]
    pub listen: SocketAddr,

    /// How often everything is looked at again, in case an event got lost; costs no request where nothing differs
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION", env = "KUBENOVA_RESYNC")]
    pub resync: Duration,

    /// Silence after which a watch is begun anew; the API server sends something about every minute
    #[arg(long, default_value = "150s", value_parser = duration, value_name = "DURATION", env = "KUBENOVA_WATCH_IDLE")]
    pub watch_idle: Duration,
}

/// Where the definitions go.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubenova crds | kubectl apply --server-side -f -
  kubenova crds --out crds")]
pub struct CrdsArgs {
    /// Write one file per definition into this folder, which is made if need be, instead of printing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Where what is generated goes.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubenova generate --out /tmp/fresh    definitions in crds/, pages in reference/")]
pub struct GenerateArgs {
    /// Folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// How log lines look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// One line of text, coloured on a terminal, for people.
    Pretty,
}

/// The client logs the whole of an answer that it cannot read, which may hold what belongs to others.
const DEFAULT_FILTER: &str = "info,kube_client::client=error";

/// Refuses a filter that cannot be read before anything else happens. A filter that is set but empty is the default.
fn filter(text: &str) -> Result<String, String> {
    let text = if text.trim().is_empty() { DEFAULT_FILTER } else { text };
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A duration such as `30s` or `10m`, of a second at least.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error| format!("{error}; write it as 30s or 10m"))?;
    match Duration::try_from(parsed) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err("it has to be one second or more, such as 30s or 10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Args::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has none", command.get_name());
        }
    }

    #[test]
    fn every_flag_of_the_operator_can_come_from_the_environment() {
        let args = Args::command();
        let operator = args.find_subcommand("operator").unwrap();
        for flag in operator.get_arguments().filter(|flag| flag.get_id() != "help") {
            assert!(flag.get_env().is_some(), "--{} cannot", flag.get_id());
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(filter("nova_operator=loud").is_err());
        assert_eq!(filter("warn,nova_operator=debug").unwrap(), "warn,nova_operator=debug");
    }

    #[test]
    fn a_duration_is_read_as_people_write_it_and_nothing_below_a_second_is_taken() {
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "0s", "500ms", "-1m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_filter_is_the_default() {
        assert_eq!(filter(" ").unwrap(), DEFAULT_FILTER);
    }
}
