//! nova-operator
