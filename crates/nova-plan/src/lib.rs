//! nova-plan
