//! Requests (`METHOD path`) that a port never makes: each would meet a fault that the table
//! therefore says is not met.

/// The firmware settings are read or changed.
pub(super) fn about_the_bios(request: &str) -> bool {
    request.contains("/Bios")
}

/// The firmware settings are changed: where an apply time may be asked for.
pub(super) fn changes_the_bios(request: &str) -> bool {
    request.starts_with("PATCH ") && about_the_bios(request)
}

/// A task's monitor is asked.
pub(super) fn asks_a_monitor(request: &str) -> bool {
    request.contains("/TaskMonitors")
}

/// Firmware is updated.
pub(super) fn updates(request: &str) -> bool {
    request.starts_with("POST ") && request.contains("/UpdateService")
}

/// Only the headers are asked for.
pub(super) fn is_head(request: &str) -> bool {
    request.starts_with("HEAD ")
}

/// A path with a slash at its end. The root has one by right.
pub(super) fn ends_in_a_slash(request: &str) -> bool {
    request.ends_with('/') && !request.ends_with(" /redfish/v1/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_would_meet_a_fault_are_known() {
        let system = "/redfish/v1/Systems/Bluefield";
        let update = "/redfish/v1/UpdateService";
        let settings = format!("PATCH {system}/Bios/Settings");
        assert!(about_the_bios(&format!("GET {system}/Bios")) && about_the_bios(&settings));
        assert!(changes_the_bios(&settings) && !changes_the_bios(&format!("GET {system}/Bios")));
        assert!(!about_the_bios(&format!("GET {system}/BootOptions")));
        assert!(asks_a_monitor("GET /redfish/v1/TaskService/TaskMonitors/1"));
        assert!(!asks_a_monitor("GET /redfish/v1/TaskService/Tasks/1"));
        assert!(updates(&format!(
            "POST {update}/Actions/UpdateService.SimpleUpdate"
        )));
        assert!(!updates(&format!("GET {update}")));
        assert!(is_head("HEAD /redfish/v1/") && !is_head("GET /redfish/v1/"));
        assert!(ends_in_a_slash("GET /redfish/v1/Systems/"));
        assert!(
            !ends_in_a_slash("GET /redfish/v1/") && !ends_in_a_slash("GET /redfish/v1/Systems")
        );
    }
}
