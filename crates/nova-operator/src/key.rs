//! Which Nova object a piece of work is about. No I/O.

use std::fmt;

use nova_plan::names::{LOCAL_CLUSTER, Managed, home_of, parse_namespace};

/// The Nova kinds that are reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `NovaCluster`.
    Cluster,
    /// `NovaPlan`.
    Plan,
    /// `NovaTenant`.
    Tenant,
    /// `NovaProject`.
    Project,
    /// `NovaSandbox`.
    Sandbox,
    /// `NovaApp`.
    App,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Cluster, Self::Plan, Self::Tenant, Self::Project, Self::Sandbox, Self::App];

    /// Name of the controller, in logs, metrics and field managers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Plan => "plan",
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Sandbox => "sandbox",
            Self::App => "app",
        }
    }

    /// Field manager of the controller.
    #[must_use]
    pub const fn manager(self) -> &'static str {
        match self {
            Self::Cluster => "kubenova/cluster",
            Self::Plan => "kubenova/plan",
            Self::Tenant => "kubenova/tenant",
            Self::Project => "kubenova/project",
            Self::Sandbox => "kubenova/sandbox",
            Self::App => "kubenova/app",
        }
    }
}

/// A Nova object: kind, namespace (empty for cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of any kind.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A tenant.
    #[must_use]
    pub fn tenant(name: &str) -> Self {
        Self::new(Kind::Tenant, "", name)
    }

    /// This cluster.
    #[must_use]
    pub fn cluster() -> Self {
        Self::new(Kind::Cluster, "", LOCAL_CLUSTER)
    }

    /// The tenant, project or sandbox that a managed namespace is made for, by its name.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Option<Self> {
        let (tenant, managed) = parse_namespace(namespace)?;
        let home = home_of(tenant);
        Some(match managed {
            Managed::Home => Self::tenant(tenant),
            Managed::App(project) => Self::new(Kind::Project, &home, project),
            Managed::Sandbox(sandbox) => Self::new(Kind::Sandbox, &home, sandbox),
        })
    }

    /// The tenant the object belongs to; empty for platform kinds. Work is shared fairly between these.
    #[must_use]
    pub fn tenant_name(&self) -> &str {
        match self.kind {
            Kind::Tenant => &self.name,
            _ => parse_namespace(&self.namespace).map_or("", |(tenant, _)| tenant),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind.as_str(), self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind.as_str(), self.namespace, self.name)
        }
    }
}
