//! A plain connect, to find out whether anything listens before anything is said.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use lockstep_redfish::AllowedNetworks;
use tokio::net::TcpStream;

/// How long a connect may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Addresses that can be knocked at.
#[async_trait]
pub trait Doors: Send + Sync + fmt::Debug {
    /// Whether something listens there; else why not.
    async fn knock(&self, door: SocketAddr) -> Result<(), String>;
}

/// Those of the networks that may be dialled.
#[derive(Clone, Debug)]
pub struct NetworkDoors(pub AllowedNetworks);

#[async_trait]
impl Doors for NetworkDoors {
    async fn knock(&self, door: SocketAddr) -> Result<(), String> {
        if !self.0.contains(door.ip()) {
            return Err("it lies outside the networks that this agent may dial".to_owned());
        }
        match tokio::time::timeout(PATIENCE, TcpStream::connect(door)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {} s", PATIENCE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_listener_answers_and_what_may_not_be_dialled_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let doors = |network: &str| NetworkDoors(AllowedNetworks(vec![network.parse().unwrap()]));
        assert_eq!(doors("127.0.0.0/8").knock(door).await, Ok(()));
        let refused = doors("10.0.0.0/8").knock(door).await.unwrap_err();
        assert!(refused.contains("may dial"), "{refused}");
        drop(listener);
        assert!(doors("127.0.0.0/8").knock(door).await.is_err());
    }
}
