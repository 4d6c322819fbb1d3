//! Virtual machines behind a Redfish BMC.
