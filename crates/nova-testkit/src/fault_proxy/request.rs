//! What a request asks for, read from its method, path and query as the API server reads them. No I/O.

use axum::http::Method;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each is the verb that RBAC knows by that name")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// All that change something.
    pub const WRITES: [Self; 5] =
        [Self::Create, Self::Update, Self::Patch, Self::Delete, Self::DeleteCollection];
}

/// A request for a resource. Discovery and health have none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// What it wants to do; none for what is no request for a resource.
    pub verb: Option<Verb>,
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name of the kind.
    pub resource: String,
    /// For example `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects and for all namespaces. A namespace is in itself.
    pub namespace: String,
    /// Empty for a list, a collection and a create.
    pub name: String,
    /// A watch that begins with the objects that are there, which does the work of a list.
    pub lists_too: bool,
}

impl Asked {
    /// Reads a request line.
    #[must_use]
    pub fn read(method: &Method, path: &str, query: &str) -> Self {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next() {
            Some("api") => String::new(),
            Some("apis") => parts.next().unwrap_or_default().to_owned(),
            _ => return Self::default(),
        };
        let _version = parts.next();
        let mut parts: Vec<&str> = parts.collect();
        let mut namespace = "";
        if parts.len() > 1 && parts[0] == "namespaces" {
            namespace = parts[1];
            if parts.len() > 2 && !["status", "finalize"].contains(&parts[2]) {
                parts.drain(..2);
            }
        }
        let part = |n: usize| parts.get(n).copied().unwrap_or_default().to_owned();
        let (resource, name, subresource) = (part(0), part(1), part(2));
        if resource.is_empty() {
            return Self { group, ..Self::default() };
        }
        let has = |key: &str| {
            let value = parameter(query, key);
            value.is_some_and(|value| ["1", "true"].contains(&value))
        };
        let verb = match *method {
            Method::GET | Method::HEAD if has("watch") => Some(Verb::Watch),
            Method::GET | Method::HEAD if name.is_empty() => Some(Verb::List),
            Method::GET | Method::HEAD => Some(Verb::Get),
            Method::POST => Some(Verb::Create),
            Method::PUT => Some(Verb::Update),
            Method::PATCH => Some(Verb::Patch),
            Method::DELETE if name.is_empty() => Some(Verb::DeleteCollection),
            Method::DELETE => Some(Verb::Delete),
            _ => None,
        };
        let lists_too = verb == Some(Verb::Watch) && has("sendInitialEvents");
        Self { verb, group, resource, subresource, namespace: namespace.to_owned(), name, lists_too }
    }

    /// `novaapps.kubenova.io`, `limitranges`.
    #[must_use]
    pub fn kind(&self) -> String {
        if self.group.is_empty() {
            return self.resource.clone();
        }
        format!("{}.{}", self.resource, self.group)
    }
}

/// The raw value of a query's parameter.
pub(super) fn parameter<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(name, value)| (name == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, uri: &str) -> Asked {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Asked::read(method, path, query)
    }

    #[test]
    fn a_request_is_read_as_the_api_server_reads_it() {
        let verb = |method: Method, uri: &str| read(&method, uri).verb;
        assert_eq!(verb(Method::GET, "/apis/batch/v1/jobs?limit=250"), Some(Verb::List));
        assert_eq!(verb(Method::GET, "/apis/batch/v1/jobs?limit=250&watch=true"), Some(Verb::Watch));
        assert_eq!(verb(Method::GET, "/api/v1/namespaces/a/pods/b"), Some(Verb::Get));
        assert_eq!(verb(Method::POST, "/api/v1/namespaces/a/pods"), Some(Verb::Create));
        assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a/pods"), Some(Verb::DeleteCollection));
        assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a"), Some(Verb::Delete));
        for uri in ["/version", "/healthz", "/apis", "/api/v1", "/apis/apps/v1"] {
            assert_eq!(verb(Method::GET, uri), None, "{uri}");
        }
        assert!(read(&Method::GET, "/api/v1/pods?watch=1&sendInitialEvents=true").lists_too);
        assert!(!read(&Method::GET, "/api/v1/pods?watch=1&sendInitialEvents=false").lists_too);
    }

    #[test]
    fn names_and_namespaces_are_told_apart() {
        let app =
            read(&Method::PATCH, "/apis/kubenova.io/v1alpha1/namespaces/tn-a-app-s/novaapps/web/status");
        let parts = [app.kind(), app.namespace, app.name, app.subresource];
        assert_eq!(parts, ["novaapps.kubenova.io", "tn-a-app-s", "web", "status"]);
        let tenant = read(&Method::PATCH, "/apis/kubenova.io/v1alpha1/novatenants/a");
        assert_eq!([&tenant.namespace, &tenant.name, &tenant.subresource], ["", "a", ""]);
        for (uri, subresource) in
            [("/api/v1/namespaces/tn-a", ""), ("/api/v1/namespaces/tn-a/status", "status")]
        {
            let namespace = read(&Method::PATCH, uri);
            assert_eq!(
                [&namespace.resource, &namespace.namespace, &namespace.name],
                ["namespaces", "tn-a", "tn-a"]
            );
            assert_eq!(namespace.subresource, subresource);
        }
    }
}
