//! Reads the API server's audit log: who wrote what since a moment. Does I/O: reads a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// One answered request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As the API server names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Who asked; for an impersonated request, who impersonates.
    pub user: String,
    /// As whom, if the request was impersonated.
    pub impersonated: Option<String>,
    /// The client's own description of itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// What the request was about.
    pub object: Object,
    /// HTTP status code of the answer.
    pub code: u16,
    /// When the request came in.
    pub received: Option<Timestamp>,
    /// The request's body, kept for writes of KubeNova's, RBAC's, Capsule's and Vela's kinds and namespaces.
    pub body: Option<Value>,
}

/// What a request was about, as far as its path tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// API group, empty for the core group.
    pub api_group: String,
    /// Plural name of the kind.
    pub resource: String,
    /// For example `status`.
    pub subresource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for a list, a collection and a generated name.
    pub name: String,
}

impl Entry {
    /// Whether the request asks for a change of stored state: no reviews, no tokens, no leases, no dry runs.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let Object { api_group, resource, subresource, .. } = &self.object;
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
            && !["authorization.k8s.io", "authentication.k8s.io"].contains(&api_group.as_str())
            && !(api_group == "coordination.k8s.io" && resource == "leases")
            && subresource != "token"
            && !self.uri.contains("dryRun=All")
    }

    /// Whether the answer was a success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// As whom the request was judged.
    #[must_use]
    pub fn acting(&self) -> &str {
        self.impersonated.as_deref().unwrap_or(&self.user)
    }

    /// `patch namespaces/tn-acme 200`, to show in a failed assertion.
    #[must_use]
    pub fn summary(&self) -> String {
        let Object { resource, subresource, namespace, name, .. } = &self.object;
        let parts = [resource, namespace, name, subresource].map(String::as_str);
        let path: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{} {} {}", self.verb, path.join("/"), self.code)
    }
}

/// A position in the log.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mark(u64);

/// A reader of one audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// A reader of the log at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The present end of the log: what comes after it is what happens from now on.
    ///
    /// The API server writes an entry just after it has answered, so call [`Audit::settle`] first if the requests
    /// that were answered a moment ago must not count.
    pub fn mark(&self) -> Result<Mark> {
        const TAIL: u64 = 4 << 20;
        let length = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        // The log grows to hundreds of megabytes in a load test; the last whole line is near its end.
        let begin = length.saturating_sub(TAIL);
        let mut end = Mark(begin);
        self.lines(Mark(begin), |_, next| end = next)?;
        Ok(end)
    }

    /// Waits long enough for entries of requests that were already answered to be in the log.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Every answered request since `mark`. A last line that is still being written is left for the next call.
    pub fn since(&self, mark: Mark) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.lines(mark, |line, _| {
            if let Ok(raw) = serde_json::from_str::<Raw>(line)
                && raw.stage == "ResponseComplete"
            {
                entries.push(raw.into());
            }
        })?;
        Ok(entries)
    }

    /// Every request since `mark` that asked for a change, by this user or by somebody impersonating it.
    ///
    /// Refused writes are among them; [`Entry::succeeded`] tells.
    pub fn writes_by(&self, user: &str, mark: Mark) -> Result<Vec<Entry>> {
        let mut entries = self.since(mark)?;
        entries.retain(|entry| entry.is_write() && (entry.user == user || entry.acting() == user));
        Ok(entries)
    }

    fn lines(&self, mark: Mark, mut each: impl FnMut(&str, Mark)) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("open {:?}", self.path)),
        };
        let length = file.metadata().with_context(|| format!("look at {:?}", self.path))?.len();
        ensure!(length >= mark.0, "{:?} has {length} bytes, and was read up to {} before", self.path, mark.0);
        file.seek(SeekFrom::Start(mark.0)).with_context(|| format!("read {:?}", self.path))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut position = mark.0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length =
                reader.read_until(b'\n', &mut line).with_context(|| format!("read {:?}", self.path))?;
            if length == 0 || line.last() != Some(&b'\n') {
                return Ok(());
            }
            position += length as u64;
            each(&String::from_utf8_lossy(&line), Mark(position));
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    verb: String,
    #[serde(default)]
    user: Name,
    impersonated_user: Option<Name>,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI", default)]
    request_uri: String,
    #[serde(default)]
    object_ref: Object,
    response_status: Option<Code>,
    request_received_timestamp: Option<Timestamp>,
    request_object: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: u16,
}

impl From<Raw> for Entry {
    fn from(raw: Raw) -> Self {
        Self {
            verb: raw.verb,
            user: raw.user.username,
            impersonated: raw.impersonated_user.map(|name| name.username),
            user_agent: raw.user_agent,
            uri: raw.request_uri,
            object: raw.object_ref,
            code: raw.response_status.map_or(0, |status| status.code),
            received: raw.request_received_timestamp,
            body: raw.request_object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Audit, Mark};
    use std::io::Write as _;

    const CREATE: &str = r#"{"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/configmaps","verb":"create","user":{"username":"ann"},"objectRef":{"resource":"configmaps","namespace":"a","name":"c"},"responseStatus":{"code":201},"requestReceivedTimestamp":"2026-11-21T09:00:00.000000Z"}"#;

    #[test]
    fn a_half_written_line_is_left_for_the_next_call() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let audit = Audit::new(file.path().to_path_buf());
        let (head, rest) = CREATE.split_at(40);
        write!(file, "{CREATE}\n{head}").unwrap();
        assert_eq!(audit.since(Mark::default()).unwrap().len(), 1);
        let mark = audit.mark().unwrap();
        assert!(audit.since(mark).unwrap().is_empty());
        writeln!(file, "{rest}").unwrap();
        let entries = audit.writes_by("ann", mark).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].summary(), "create configmaps/a/c 201");
    }

    #[test]
    fn reviews_leases_and_dry_runs_are_no_writes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let audit = Audit::new(file.path().to_path_buf());
        let review = CREATE.replace(r#""objectRef":{"#, r#""objectRef":{"apiGroup":"authorization.k8s.io","#);
        let lease = CREATE.replace(
            r#"{"resource":"configmaps""#,
            r#"{"apiGroup":"coordination.k8s.io","resource":"leases""#,
        );
        let dry = CREATE.replace("configmaps\",\"verb", "configmaps?dryRun=All\",\"verb");
        write!(file, "{review}\n{lease}\n{dry}\n{CREATE}\n").unwrap();
        assert_eq!(audit.writes_by("ann", Mark::default()).unwrap().len(), 1);
    }
}
