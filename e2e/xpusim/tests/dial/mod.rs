//! The way from a test to a machine of the simulator, by the product's own BMC port.

use std::time::Duration;

use lockstep_redfish::{
    AllowedNetworks, BmcOptions, BmcTarget, Credentials, ExpectedIdentity, Redfish, RedfishBmc,
    TlsTrust,
};
use lockstep_xpusim::{Fleet, Server};

pub(crate) fn port(fleet: &Fleet, server: &Server, name: &str) -> RedfishBmc {
    let state = fleet.state(name).unwrap();
    let target = BmcTarget {
        address: server.url(name).unwrap().parse().unwrap(),
        system_path: None,
        credentials: Credentials {
            username: state.user,
            password: state.password,
        },
        tls: TlsTrust::CaBundle(server.certificate_pem(name).unwrap()),
        expected: ExpectedIdentity {
            system_uuid: Some(state.uuid),
            serial_number: Some(state.serial),
            tls_pin: None,
        },
    };
    let options = BmcOptions {
        confirm_window: Duration::from_millis(500),
        ..BmcOptions::default()
    };
    let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
    Redfish::new(networks, options).bmc(target).unwrap()
}
