//! The API server of the tests. No I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

/// What the server does with a request instead of carrying it out.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Refuses it with a status, reason and message.
    Refuse(u16, &'static str, String),
    /// Never answers.
    Hang,
    /// Answers with this.
    Answer(Value),
}

/// A rule for requests whose line begins with a text, and how often it still counts.
#[derive(Debug)]
struct Rule {
    prefix: String,
    reply: Reply,
    left: usize,
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    /// Body; null where there is none.
    pub body: Value,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<Asked>,
    rules: Vec<Rule>,
}

/// The server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request| {
                let server = server.clone();
                async move { server.answer(request).await }
            }),
            "default",
        )
    }

    /// Requests whose line begins with `prefix` are answered so, `times` times.
    pub fn on(&self, prefix: &str, times: usize, reply: Reply) {
        self.lock().rules.push(Rule { prefix: prefix.to_owned(), reply, left: times });
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Puts an object there as somebody else would, and completes its metadata.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(version.to_string());
        let before = state.objects.get(path).map(|o| o["metadata"].clone()).unwrap_or_default();
        let kept = [
            ("uid", json!(format!("uid-{version}"))),
            ("creationTimestamp", json!(format!("2026-01-01T00:00:{:02}Z", version % 60))),
            ("generation", json!(1)),
        ];
        for (key, fresh) in kept {
            if metadata[key].is_null() {
                metadata[key] = if before[key].is_null() { fresh } else { before[key].clone() };
            }
        }
        state.objects.insert(path.to_owned(), object);
    }

    /// Puts an object there as it is, as a backup does.
    pub fn restore(&self, path: &str, object: Value) {
        let mut state = self.lock();
        let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        state.version = state.version.max(text.parse().unwrap_or(0));
        state.objects.insert(path.to_owned(), object);
    }

    /// Changes an object as somebody else would.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path).unwrap_or_else(|| panic!("{path} is not there"));
        change(&mut object);
        self.put(path, object);
    }

    /// Takes an object away for good.
    pub fn take(&self, path: &str) -> Option<Value> {
        let mut state = self.lock();
        state.version += 1;
        state.objects.remove(path)
    }

    /// An object.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// Every object, by path.
    pub fn objects(&self) -> BTreeMap<String, Value> {
        self.lock().objects.clone()
    }

    /// The latest version.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default());
        let query = query.trim_matches('&').replace("%2F", "/").replace("&&", "&");
        let line = format!("{} {path}{}{query}", parts.method, if query.is_empty() { "" } else { "?" });
        let mut reply = None;
        {
            let mut state = self.lock();
            state.asked.push(Asked { line: line.clone(), body: body.clone() });
            if let Some(rule) = state.rules.iter_mut().find(|r| r.left > 0 && line.starts_with(&r.prefix)) {
                rule.left -= 1;
                reply = Some(rule.reply.clone());
            }
        }
        let kind =
            parts.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (code, answer) = match reply {
            Some(Reply::Hang) => std::future::pending().await,
            Some(Reply::Refuse(code, reason, message)) => (code, status(code, reason, &message)),
            Some(Reply::Answer(answer)) => (200, answer),
            None => {
                let mut state = self.lock();
                match parts.method.as_str() {
                    "GET" => state.read(&path, &query),
                    "POST" => state.create(&path, body),
                    "PATCH" if query.contains("dryRun") => (200, body),
                    "PATCH" if kind.contains("apply-patch") => state.apply(&path, &query, &body),
                    "PATCH" => state.merge(&path, &body),
                    "DELETE" => state.delete(&path, &body),
                    other => panic!("{other} is not expected"),
                }
            }
        };
        let response = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
        Ok(response.unwrap())
    }
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message, "metadata": {}})
}

fn conflict() -> (u16, Value) {
    (409, status(409, "Conflict", "the object has been modified"))
}

fn not_found() -> (u16, Value) {
    (404, status(404, "NotFound", "not found"))
}

/// What a precondition says of an object.
fn holds(object: &Value, wanted: &Value) -> bool {
    ["uid", "resourceVersion"]
        .iter()
        .all(|key| wanted[*key].is_null() || wanted[*key] == object["metadata"][*key])
}

impl State {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn read(&self, path: &str, query: &str) -> (u16, Value) {
        if let Some(object) = self.objects.get(path) {
            return (200, object.clone());
        }
        // A list has a plural at its end, an object has its name after that.
        let rest: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let root = if rest[0] == "api" { 2 } else { 3 };
        let (base, rest) = (format!("/{}/", rest[..root].join("/")), &rest[root..]);
        let (namespace, plural) = match rest {
            [plural] => (None, *plural),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural),
            _ => return not_found(),
        };
        let label = query
            .split('&')
            .find_map(|part| part.strip_prefix("labelSelector="))
            .map(|l| l.replace("%3D", "="));
        let found = self.objects.iter().filter(|(at, object)| {
            let Some(at) = at.strip_prefix(&base) else { return false };
            let here = match at.split('/').collect::<Vec<_>>()[..] {
                [of, _] => namespace.is_none() && of == plural,
                ["namespaces", inside, of, _] => namespace.is_none_or(|n| n == inside) && of == plural,
                _ => false,
            };
            let labelled = label
                .as_ref()
                .and_then(|l| l.split_once('='))
                .is_none_or(|(key, value)| object["metadata"]["labels"][key] == value);
            here && labelled
        });
        let items: Vec<&Value> = found.map(|(_, object)| object).collect();
        (
            200,
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}),
        )
    }

    fn create(&mut self, path: &str, mut body: Value) -> (u16, Value) {
        let version = self.next();
        if body["metadata"]["name"].is_null() {
            body["metadata"]["name"] = json!(format!("made-{version}"));
        }
        let at = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&at) {
            return (409, status(409, "AlreadyExists", "already exists"));
        }
        self.keep(&at, body, version);
        (201, self.objects[&at].clone())
    }

    fn apply(&mut self, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let known = self.objects.get(path).cloned();
        if let Some(object) = &known
            && !holds(object, &body["metadata"])
        {
            return conflict();
        }
        // Nothing with a UID is made anew.
        if known.is_none() && !body["metadata"]["uid"].is_null() {
            return conflict();
        }
        let manager =
            query.split('&').find_map(|part| part.strip_prefix("fieldManager=")).unwrap_or_default();
        let version = self.next();
        let mut object = known.unwrap_or_else(|| json!({"metadata": {}}));
        let applied = fields(body, "");
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let (before, others): (Vec<Value>, Vec<Value>) =
            entries.into_iter().partition(|e| e["manager"] == manager && e["operation"] == "Apply");
        for entry in before {
            drop_fields(&mut object, &entry["fieldsV1"], &applied);
        }
        merge(&mut object, body);
        let entry = json!({"manager": manager, "operation": "Apply", "fieldsV1": applied});
        object["metadata"]["managedFields"] = others.into_iter().chain([entry]).collect();
        object["metadata"]["resourceVersion"] = Value::Null;
        self.keep(path, object, version);
        (200, self.objects[path].clone())
    }

    fn merge(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let at = path.strip_suffix("/status").unwrap_or(path);
        let Some(object) = self.objects.get(at).cloned() else { return not_found() };
        if !holds(&object, &body["metadata"]) {
            return conflict();
        }
        let version = self.next();
        let mut object = object;
        merge_patch(&mut object, body);
        let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
        if !object["metadata"]["deletionTimestamp"].is_null() && finalizers == 0 {
            self.objects.remove(at);
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            return (200, object);
        }
        object["metadata"]["resourceVersion"] = Value::Null;
        self.keep(at, object, version);
        (200, self.objects[at].clone())
    }

    fn delete(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(object) = self.objects.get(path).cloned() else { return not_found() };
        if !holds(&object, &body["preconditions"]) {
            return conflict();
        }
        let version = self.next();
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        // A namespace goes after what is in it.
        if held || path.starts_with("/api/v1/namespaces/") && path.matches('/').count() == 4 {
            let mut object = object;
            object["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
            object["metadata"]["resourceVersion"] = Value::Null;
            self.keep(path, object, version);
            return (200, self.objects[path].clone());
        }
        self.objects.remove(path);
        (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200}))
    }

    fn keep(&mut self, path: &str, mut object: Value, version: u64) {
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{version}"));
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:00:{:02}Z", version % 60));
            metadata["generation"] = json!(1);
        }
        self.objects.insert(path.to_owned(), object);
    }
}

/// Takes out what was applied before and is not any more; no field has two managers here.
fn drop_fields(object: &mut Value, before: &Value, now: &Value) {
    let Value::Object(map) = object else { return };
    for (key, inside) in before.as_object().into_iter().flatten() {
        let Some(name) = key.strip_prefix("f:") else { continue };
        match (now.get(key), map.get_mut(name)) {
            (None, _) => drop(map.remove(name)),
            (Some(now), Some(object)) => drop_fields(object, inside, now),
            (Some(_), None) => {}
        }
    }
}

/// The fields of an applied body, in the format of `managedFields`: all lists but those of metadata are atomic.
fn fields(value: &Value, path: &str) -> Value {
    let Value::Object(map) = value else { return json!({}) };
    let mut owned = Map::new();
    for (key, value) in map {
        let here = format!("{path}/{key}");
        let identity =
            ["/metadata/name", "/metadata/namespace", "/metadata/uid", "/metadata/resourceVersion"];
        if ["/apiVersion", "/kind"].contains(&&*here) || identity.contains(&&*here) {
            continue;
        }
        let of = match (here.as_str(), value) {
            ("/metadata/finalizers", Value::Array(list)) => {
                Value::Object(list.iter().map(|f| (format!("v:{f}"), json!({}))).collect())
            }
            ("/metadata/ownerReferences", Value::Array(list)) => {
                let item =
                    |owner: &Value| (format!("k:{}", json!({"uid": owner["uid"]})), fields(owner, "/owner"));
                Value::Object(list.iter().map(item).collect())
            }
            _ => fields(value, &here),
        };
        owned.insert(format!("f:{key}"), of);
    }
    Value::Object(owned)
}

/// Lays an applied body over an object; a list replaces the earlier one.
fn merge(object: &mut Value, body: &Value) {
    match (object, body) {
        (Value::Object(object), Value::Object(body)) => {
            for (key, value) in body {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (object, body) => *object = body.clone(),
    }
}

/// RFC 7386.
fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(object) = object else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge_patch(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
