//! The BMC port over nv-redfish.
