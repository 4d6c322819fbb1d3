//! API types of provisioning.opiproject.org.
