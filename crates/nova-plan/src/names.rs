//! Every name, label, annotation, finalizer and field manager of the project. No I/O.

use std::fmt;

use thiserror::Error;

/// Value of `app.kubernetes.io/managed-by` on every child.
pub const MANAGED_BY: &str = "kubenova";
/// Selector that finds every labelled child.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=kubenova";
/// Namespace of the operator.
pub const SYSTEM_NAMESPACE: &str = "kubenova-system";
/// `ServiceAccount` the operator runs as, in [`SYSTEM_NAMESPACE`].
pub const OPERATOR_SERVICE_ACCOUNT: &str = "kubenova-operator";
/// `ServiceAccount` that Vela impersonates in every app namespace.
pub const DEPLOYER: &str = "kubenova-deployer";
/// `ServiceAccount` in the home namespace for the tenant's GitOps tool.
pub const GITOPS: &str = "kubenova-gitops";
/// `ResourceQuota` in every managed namespace.
pub const QUOTA: &str = "kubenova-quota";
/// `ResourceQuota` that keeps the priority of Kubernetes' own pods from those of tenants.
pub const CRITICAL_PODS: &str = "kubenova-critical-pods";
/// `ResourceQuota` that bounds the number of Nova objects in a namespace where people write them.
pub const OBJECTS: &str = "kubenova-objects";
/// `LimitRange` in every namespace that runs workloads.
pub const LIMITS: &str = "kubenova-limits";
/// Name of the `NovaCluster` that is this cluster.
pub const LOCAL_CLUSTER: &str = "local";

/// Label keys.
pub mod label {
    /// Who manages the object.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Tenant name.
    pub const TENANT: &str = "kubenova.io/tenant";
    /// Project name.
    pub const PROJECT: &str = "kubenova.io/project";
    /// `status.id` of the tenant.
    pub const TENANT_ID: &str = "kubenova.io/tenant-id";
    /// `status.id` of the project.
    pub const PROJECT_ID: &str = "kubenova.io/project-id";
    /// `status.id` of the app.
    pub const APP_ID: &str = "kubenova.io/app-id";
    /// `metadata.uid` of the Nova object a child was made for: the only authority on ownership.
    pub const OWNER_UID: &str = "kubenova.io/owner-uid";
    /// Source kind of the app, on Applications.
    pub const SOURCE_KIND: &str = "kubenova.io/source-kind";
    /// `home`, `app` or `sandbox`, on namespaces.
    pub const NAMESPACE_TYPE: &str = "kubenova.io/namespace-type";
    /// `true` on sandboxes.
    pub const SANDBOX: &str = "kubenova.io/sandbox";
    /// On the namespaces of a tenant that is suspended.
    pub const SUSPENDED: &str = "kubenova.io/suspended";
    /// Capsule's request to take a namespace into a tenant.
    pub const CAPSULE_TENANT: &str = "capsule.clastix.io/tenant";
    /// Vela's name of the Application, on everything it makes.
    pub const VELA_APP: &str = "app.oam.dev/name";
    /// Vela's label with the name of the revision that an object was last applied for.
    pub const VELA_REVISION: &str = "app.oam.dev/appRevision";
}

/// Annotation keys.
pub mod annotation {
    /// Hash of the rendering last applied: tells that a field was dropped from it.
    pub const APPLIED_HASH: &str = "kubenova.io/applied-hash";
    /// On a dry run that asks whether a webhook answers; never stored.
    pub const PROBE: &str = "kubenova.io/probe";
    /// Trace id, on events.
    pub const CORRELATION_ID: &str = "kubenova.io/correlation-id";
    /// Identity that Vela impersonates.
    pub const VELA_SERVICE_ACCOUNT: &str = "app.oam.dev/service-account-name";
    /// Version that Vela rolls out; spec edits without a new one are ignored.
    pub const VELA_PUBLISH_VERSION: &str = "app.oam.dev/publishVersion";
}

/// Finalizers on children; those of the Nova kinds are with the kinds.
pub mod finalizer {
    /// On the deployer's binding. Vela takes down what an Application made with the rights that made it, so these
    /// have to outlive the last Application of their namespace, also where the namespace itself is being deleted.
    pub const APPLICATIONS: &str = "kubenova.io/applications";
}

/// `ClusterRoles` shipped by the chart.
pub mod role {
    /// What the operator grants itself in every managed namespace.
    pub const NAMESPACE_MANAGER: &str = "kubenova-namespace-manager";
    /// What Capsule binds to owners in every namespace of the tenant.
    pub const TENANT_BASE: &str = "kubenova-tenant-base";
    /// Owners in the home namespace.
    pub const TENANT_OWNER: &str = "kubenova-tenant-owner";
    /// Owners in app namespaces.
    pub const PROJECT_OWNER: &str = "kubenova-project-owner";
    /// Developers in app namespaces.
    pub const PROJECT_DEV: &str = "kubenova-project-dev";
    /// Developers in the home namespace.
    pub const HOME_READER: &str = "kubenova-home-reader";
    /// Readers of workloads in app namespaces.
    pub const APP_READER: &str = "kubenova-app-reader";
    /// Editors of sandboxes.
    pub const SANDBOX_EDITOR: &str = "kubenova-sandbox-editor";
    /// The deployer `ServiceAccount` in app namespaces.
    pub const APP_DEPLOYER: &str = "kubenova-app-deployer";
}

/// Prefix of every field manager; [`crate::child::Child`] ownership is read from it.
pub const MANAGER_PREFIX: &str = "kubenova/";

/// Tenant names no one may take, because they would read as part of the platform.
pub const RESERVED: [&str; 6] = ["kube", "system", "default", "capsule", "vela", "kubenova"];

/// Longest tenant, project and sandbox name: `tn-` + 25 + `-sandbox-` + 25 = 62 of 63 characters.
pub const MAX_NAME: usize = 25;
/// Longest app name.
pub const MAX_APP_NAME: usize = 50;

/// A name that does not follow the rules.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum InvalidName {
    /// Characters, length or double hyphen.
    #[error(
        "name {name:?} must match ^[a-z]([a-z0-9-]*[a-z0-9])?$, have at most {max} characters and no \"--\""
    )]
    Shape {
        /// What was given.
        name: String,
        /// Longest length allowed.
        max: usize,
    },
    /// A whole hyphen-token that the namespace patterns use.
    #[error("tenant name {name:?} must not contain the word {token:?} between hyphens")]
    Token {
        /// What was given.
        name: String,
        /// `app`, `sandbox` or `db`.
        token: String,
    },
    /// A name the platform keeps for itself.
    #[error("tenant name {name:?} is reserved")]
    Reserved {
        /// What was given.
        name: String,
    },
}

fn check_shape(name: &str, max: usize) -> Result<(), InvalidName> {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let fits = !bytes.is_empty()
        && bytes.len() <= max
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes.iter().all(inner)
        && !name.contains("--");
    if fits { Ok(()) } else { Err(InvalidName::Shape { name: name.to_owned(), max }) }
}

macro_rules! name_type {
    ($type:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(TenantName, "A checked tenant name.");
name_type!(ProjectName, "A checked project name.");
name_type!(SandboxName, "A checked sandbox name.");
name_type!(AppName, "A checked app name.");

/// Home namespace of a tenant, by a name that is known to be one or is only looked up.
#[must_use]
pub fn home_of(tenant: &str) -> String {
    format!("tn-{tenant}")
}

/// Namespace of a project's apps, by names that are known to be such or are only looked up.
#[must_use]
pub fn app_namespace_of(tenant: &str, project: &str) -> String {
    format!("{}-app-{project}", home_of(tenant))
}

/// Developer group of a tenant that names none.
#[must_use]
pub fn default_dev_group_of(tenant: &str) -> String {
    format!("{tenant}-devs")
}

/// The same the other way round, without making a name.
#[must_use]
pub fn is_default_dev_group_of(group: &str, tenant: &str) -> bool {
    group.strip_suffix("-devs") == Some(tenant)
}

impl TenantName {
    /// Parses a tenant name by the rule that keeps the namespace patterns injective.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        check_shape(name, MAX_NAME)?;
        if let Some(token) = name.split('-').find(|t| ["app", "sandbox", "db"].contains(t)) {
            return Err(InvalidName::Token { name: name.to_owned(), token: token.to_owned() });
        }
        if RESERVED.contains(&name) {
            return Err(InvalidName::Reserved { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// Home namespace.
    #[must_use]
    pub fn home(&self) -> String {
        home_of(&self.0)
    }

    /// Namespace of a project's apps.
    #[must_use]
    pub fn app_namespace(&self, project: &ProjectName) -> String {
        app_namespace_of(&self.0, &project.0)
    }

    /// Namespace of a sandbox.
    #[must_use]
    pub fn sandbox_namespace(&self, sandbox: &SandboxName) -> String {
        format!("{}-sandbox-{sandbox}", self.home())
    }

    /// Developer group when the tenant names none.
    #[must_use]
    pub fn default_dev_group(&self) -> String {
        default_dev_group_of(&self.0)
    }

    /// The tenant a home namespace is of, by its name alone.
    #[must_use]
    pub fn from_home(namespace: &str) -> Option<Self> {
        Self::parse(namespace.strip_prefix("tn-")?).ok()
    }
}

impl ProjectName {
    /// Parses a project name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        check_shape(name, MAX_NAME)?;
        Ok(Self(name.to_owned()))
    }
}

impl SandboxName {
    /// Parses a sandbox name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        check_shape(name, MAX_NAME)?;
        Ok(Self(name.to_owned()))
    }
}

impl AppName {
    /// Parses an app name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        check_shape(name, MAX_APP_NAME)?;
        Ok(Self(name.to_owned()))
    }
}

/// `RoleBinding` name of a `ClusterRole`.
#[must_use]
pub fn binding_name(cluster_role: &str) -> String {
    format!("{cluster_role}-binding")
}

/// What a managed namespace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamespaceType {
    /// Nova objects of the tenant; nothing runs here.
    Home,
    /// Apps of a project; read-only to people.
    App,
    /// Fully editable by developers.
    Sandbox,
}

impl NamespaceType {
    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::App => "app",
            Self::Sandbox => "sandbox",
        }
    }
}

/// What the name of a managed namespace says. A hint for routing: authority is the owner UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Managed<'a> {
    /// Home of a tenant.
    Home,
    /// Apps of the project of this name.
    App(&'a str),
    /// Sandbox of this name.
    Sandbox(&'a str),
}

/// Tenant and purpose of a namespace by its name; none for a name that is not of ours.
/// No tenant name holds the words between the hyphens, so there is one way to read it.
#[must_use]
pub fn parse_namespace(namespace: &str) -> Option<(&str, Managed<'_>)> {
    let rest = namespace.strip_prefix("tn-")?;
    let (tenant, managed) = match (rest.find("-app-"), rest.find("-sandbox-")) {
        (Some(at), other) if other.is_none_or(|o| at < o) => (&rest[..at], Managed::App(&rest[at + 5..])),
        (_, Some(at)) => (&rest[..at], Managed::Sandbox(&rest[at + 9..])),
        _ => (rest, Managed::Home),
    };
    TenantName::parse(tenant).ok()?;
    Some((tenant, managed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use std::collections::HashMap;

    #[test]
    fn a_tenant_named_like_a_project_is_refused() {
        for bad in ["a-app-b", "app", "x-db", "sandbox-1", "db"] {
            assert!(matches!(TenantName::parse(bad), Err(InvalidName::Token { .. })), "{bad}");
        }
        for good in ["happy", "apps", "sandboxes", "a-apple", "dbx"] {
            assert!(TenantName::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused_never_changed() {
        for bad in ["", "A", "1a", "a-", "-a", "a--b", "a.b", "a_b", &"a".repeat(26)] {
            assert!(TenantName::parse(bad).is_err(), "{bad}");
            assert!(ProjectName::parse(bad).is_err(), "{bad}");
        }
        assert!(TenantName::parse("kube").is_err());
        assert!(ProjectName::parse("kube").is_ok());
        assert!(ProjectName::parse("a-app-b").is_ok());
    }

    #[test]
    fn the_longest_namespace_fits_a_dns_label() {
        let tenant = TenantName::parse(&"t".repeat(MAX_NAME)).unwrap();
        let sandbox = SandboxName::parse(&"s".repeat(MAX_NAME)).unwrap();
        assert_eq!(tenant.sandbox_namespace(&sandbox).len(), 62);
    }

    /// Names built from the words that could collide, which plain random text would hardly ever hit.
    fn name() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec!["a", "b", "app", "sandbox", "db", "tn", "x1", "apps", "sandboxapp"]),
            1..5,
        )
        .prop_map(|words| words.join("-"))
        .prop_filter("fits", |n| n.len() <= MAX_NAME)
    }

    #[test]
    fn a_million_pairs_of_names_give_a_million_namespaces() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let strategy = (name(), name());
        let mut seen: HashMap<String, (String, String, &str)> = HashMap::new();
        let mut claim = |namespace: String, owner: (String, String, &'static str)| {
            let earlier = seen.entry(namespace.clone()).or_insert_with(|| owner.clone());
            assert_eq!(*earlier, owner, "two owners of {namespace}");
        };
        let mut pairs = 0_u32;
        while pairs < 1_000_000 {
            let (tenant, other) = strategy.new_tree(&mut runner).unwrap().current();
            pairs += 1;
            let Ok(tenant_name) = TenantName::parse(&tenant) else { continue };
            claim(tenant_name.home(), (tenant.clone(), String::new(), "home"));
            let project = ProjectName::parse(&other).unwrap();
            let namespace = tenant_name.app_namespace(&project);
            assert_eq!(parse_namespace(&namespace), Some((tenant.as_str(), Managed::App(&other))));
            claim(namespace, (tenant.clone(), other.clone(), "app"));
            let sandbox = SandboxName::parse(&other).unwrap();
            let namespace = tenant_name.sandbox_namespace(&sandbox);
            assert_eq!(parse_namespace(&namespace), Some((tenant.as_str(), Managed::Sandbox(&other))));
            claim(namespace, (tenant.clone(), other.clone(), "sandbox"));
            claim(format!("{}-db", tenant_name.home()), (tenant, String::new(), "db"));
        }
    }
}
