//! Who may do what, asked of the API server itself: reviews that know subresources, which `kubectl auth can-i` does not.
//! Does I/O.

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

/// Reviews asked at once.
const PARALLEL: usize = 16;

/// Somebody as the authoriser sees them.
#[derive(Debug, Clone)]
pub struct Person {
    /// What the table calls them.
    pub title: &'static str,
    /// User name.
    pub user: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
}

impl Person {
    /// A user with groups.
    #[must_use]
    pub fn user(title: &'static str, user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        groups.push("system:authenticated".to_owned());
        Self { title, user: user.to_owned(), groups }
    }

    /// A `ServiceAccount`.
    #[must_use]
    pub fn service_account(title: &'static str, namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let groups = groups.into_iter().chain(["system:authenticated".to_owned()]).collect();
        Self { title, user: format!("system:serviceaccount:{namespace}:{name}"), groups }
    }
}

/// A request: verb, group, resource and subresource, written `verb resource[.group][/subresource]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Verb.
    pub verb: &'static str,
    /// Plural and, after a dot, group; after a slash, the subresource.
    pub what: &'static str,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.what)
    }
}

impl Asked {
    /// Reads `verb resource[.group][/subresource]`.
    #[must_use]
    pub fn parse(text: &'static str) -> Option<Self> {
        let (verb, what) = text.split_once(' ')?;
        Some(Self { verb, what })
    }

    fn parts(&self) -> (&'static str, &'static str, &'static str) {
        let (path, subresource) = self.what.split_once('/').unwrap_or((self.what, ""));
        let (resource, group) = path.split_once('.').unwrap_or((path, ""));
        (group, resource, subresource)
    }
}

/// Asks whether `person` may do this in `namespace`, or in the whole cluster if that is empty.
pub async fn may(admin: &Client, person: &Person, asked: Asked, namespace: &str) -> Result<bool> {
    let (group, resource, subresource) = asked.parts();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(person.user.clone()),
            groups: Some(person.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: text(asked.verb),
                group: text(group),
                resource: text(resource),
                subresource: text(subresource),
                namespace: text(namespace),
                // A namespace is judged in itself.
                name: if resource == "namespaces" { text(namespace) } else { None },
                version: text("*"),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(admin.clone());
    let answer = api.create(&PostParams::default(), &review).await.context("review access")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Asks everything of everybody: the answers in the order of people, for each request.
pub async fn table(
    admin: &Client,
    people: &[Person],
    asked: &[Asked],
    namespace: &str,
) -> Result<Vec<(Asked, Vec<bool>)>> {
    let row = async |asked: Asked| {
        let mut answers = Vec::new();
        for person in people {
            answers.push(may(admin, person, asked, namespace).await?);
        }
        Ok::<_, anyhow::Error>((asked, answers))
    };
    stream::iter(asked.iter().copied()).map(row).buffered(PARALLEL).try_collect().await
}
