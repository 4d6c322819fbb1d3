//! Every reason a person can read in a condition, with its remedy.

use Help::{AtOnce, IfItLasts, Nothing};

/// What helps a person who reads a reason.
enum Help {
    /// This, at once.
    AtOnce(&'static str),
    /// Patience, and this if that did not help.
    IfItLasts(&'static str),
    /// Nothing needs help, or the message says what does.
    Nothing,
}

/// Declares the reasons with documentation, wire name and remedy in one place.
macro_rules! reasons {
    ( $( $(#[doc = $doc:literal])+ $name:ident => $remedy:expr ),+ $(,)? ) => {
        /// Why the planner waits, holds or stalls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $( $(#[doc = $doc])+ $name ),+ }

        impl Reason {
            /// Every reason, for the reference.
            pub const ALL: &'static [Reason] = &[$( Reason::$name ),+];

            /// The condition reason.
            pub fn as_str(self) -> &'static str {
                match self { $( Reason::$name => stringify!($name) ),+ }
            }

            /// What the reason means.
            pub fn meaning(self) -> &'static str {
                match self { $( Reason::$name => concat!($($doc),+) ),+ }
            }

            /// What helps; `None` where patience does, see [`Reason::if_it_lasts`].
            pub fn remedy(self) -> Option<&'static str> {
                match self.help() {
                    AtOnce(remedy) => Some(remedy),
                    IfItLasts(_) | Nothing => None,
                }
            }

            /// What helps once patience did not.
            pub fn if_it_lasts(self) -> Option<&'static str> {
                match self.help() {
                    IfItLasts(remedy) => Some(remedy),
                    AtOnce(_) | Nothing => None,
                }
            }

            fn help(self) -> Help {
                match self { $( Reason::$name => $remedy ),+ }
            }
        }
    };
}

reasons! {
    /// Everything is as wanted.
    AsWanted => Nothing,
    /// The policy's mode is Observe: facts are reported and nothing is planned.
    ObserveOnly => AtOnce("Set the policy's mode to Plan to see the next decision, or to Enforce to have it carried out"),
    /// The policy's mode is Plan: the next decision is shown and not carried out.
    PlanOnly => AtOnce("Set the policy's mode to Enforce to have it carried out"),
    /// `handsOff` is set on the host.
    HandsOff => AtOnce("Unset handsOff on the DpuHost to go on"),
    /// The card is paused.
    Paused => AtOnce("Unset paused on the Dpu to go on"),
    /// The card was found, and nobody has approved that anything is done to it.
    NotApproved => AtOnce("Look at it with kubectl get dpuinventory; approving it takes the verb approve on dpus, see docs/discovery.md"),
    /// The policy that the host names does not exist.
    PolicyNotFound => AtOnce("Create it, or correct policyRef on the DpuHost"),
    /// The host that the card names does not exist.
    HostNotFound => AtOnce("Create the DpuHost, or correct hostRefs on the Dpu"),
    /// The card and its host belong to different sites.
    SitesDiffer => AtOnce("site is immutable: delete the object whose site is wrong, and create it again"),
    /// The image that the card or its policy names does not exist.
    ImageNotFound => AtOnce("Create the DpuImage, or correct imageRef, firmwareRefs or serviceRefs"),
    /// The policy chooses the image of the card by what it is, and that has not been read, or vantage points contradict each other in it.
    ImageNotChosen => IfItLasts("Look at the card's DpuInventory: spec.missing says who could tell it, spec.conflicts who contradicts whom; have that agent run, or name the image in imageRef of the Dpu"),
    /// By what is told of the card now the policy's imageChoices would come to another image than the one that was chosen and installed. Nothing is changed for it.
    ImageChoiceDiffers => AtOnce("Look at the card's DpuInventory; change retryToken on the Dpu to have the image chosen anew, which installs it, or name the image that the card is to keep in imageRef of the Dpu"),
    /// Neither the card nor its policy names an image.
    NoImageWanted => AtOnce("Set imageRef on the Dpu or on its DpuBootPolicy, or a choice of its imageChoices that fits, to have one installed"),
    /// The admission policies that keep agents to their own objects are missing or changed.
    AdmissionGuardMissing => AtOnce("Apply config/admission (or upgrade the chart) again: without these guards no agent's word can be trusted"),
    /// Two objects claim one machine.
    IdentityConflict => AtOnce("Delete one of the objects, or correct its bmc or identity"),
    /// The machine behind the BMC is not the one the object names.
    IdentityMismatch => AtOnce("Correct the BMC address, or if the machine was replaced, delete the object and create it for the new machine"),
    /// The object does not say which machine it stands for.
    IdentityNotGiven => AtOnce("Check that this is the machine you mean, and set it as identity on the object"),
    /// Neither does anybody vouch that the card sits in this host, nor does a live agent of the host or its BMC see it there and nowhere else.
    PairingNotProved => AtOnce("Look at the status.hosts of the Dpu; run the host agent there, correct hostRefs, or set pairing: Asserted in them if you are sure"),
    /// A card in several hosts cannot be installed by this release.
    SeveralHostsUnsupported => AtOnce("Name one host in hostRefs"),
    /// No way leads its image onto the card: it has no BMC, or none of the policy's ways takes such an image.
    NoInstallRoad => AtOnce("Give the Dpu a bmc, if it has none; else name a way in the policy's install.methods that takes this image, or another image. Or install the card by other means: it is adopted when its agent reports the wanted image"),
    /// A BMC does not offer what an install, or the hold of a host, needs.
    CapabilityMissing => AtOnce("If a newer firmware of that BMC offers it, it goes on by itself once that runs; otherwise install the card by other means: it is adopted when its agent reports the wanted image"),
    /// Every way that the policy allows leads through a host that is not trusted with its cards, or is locked out of them.
    Unsupported => AtOnce("Add a way through the card's BMC to the policy's install.methods; or if whoever is root on that host may be root on its cards, set trustDomain: Trusted on the DpuHost, and let the host at the card again"),
    /// The firmware is written by the card's host, and the policy, that host or its agent does not admit it.
    HostCannotWrite => AtOnce("See to what the message says is lacking, or name an image in firmwareRefs that the card's BMC writes"),
    /// The card leaves the bus when it is installed, and the policy would have its host up then.
    HostStaysUp => AtOnce("In the policy, set order: XpuFirst, hostWait.until: OsRunning, and PoweredOff first in hold.mechanisms"),
    /// The agent in the host's operating system, which is to push an image, has not renewed its Lease.
    HostAgentSilent => IfItLasts("Look at the host agent's pod on that Node and its logs: it needs access: Install, and must tolerate the taint of hosts that are held"),
    /// The site's agent has not renewed its Lease.
    SiteAgentSilent => AtOnce("Look at the site agent's pod and its logs"),
    /// A machine has not been reported on yet.
    Inspecting => IfItLasts("Look at the site agent's log for that machine"),
    /// The host is new, or its `identity` or `bmc` was changed, and which Node runs there is joined anew from all reports.
    Joining => IfItLasts("Look at the operator's log: it says why the reports of the namespace are not joined"),
    /// A BMC does not answer. That alone is no reason to reset anything.
    BmcUnreachable => AtOnce("Check the BMC's power, address and network"),
    /// A BMC cannot be used until a person corrects something.
    BmcRefused => Nothing,
    /// The site's store fetches and verifies the image.
    FetchingImage => IfItLasts("Look at the site agent's log, and at the road to the image's sources"),
    /// The image cannot be had.
    ImageUnavailable => Nothing,
    /// The image has no place for the seed of the card that gets it.
    NoSeedSlot => AtOnce("Build it with one seed slot, as docs/images.md shows, and name the DpuImage of that in imageRef; it goes on by itself"),
    /// The image has more than one place for the seed of the card that gets it.
    SeedSlotAmbiguous => AtOnce("Build it with exactly one seed slot, as docs/images.md shows, and name the DpuImage of that in imageRef; it goes on by itself"),
    /// The policy wants signed images, and no signature of this one counts.
    ImageUntrusted => AtOnce("Have the image signed by one of spec.images.signers of the DpuBootPolicy, and name the signature in a DpuImage; docs/images.md shows how. Whom to trust is up to those with the verb trust on dpubootpolicies"),
    /// The policy wants signed images, and a signature has not been read yet.
    ImageTrustNotKnown => IfItLasts("Look at the sources in spec.signatures of the DpuImage, at images[].signatures in the report of the site's agent, and at that agent's log; an agent older than the operator passes no signatures on"),
    /// The image is made for other cards.
    ImageDoesNotFit => AtOnce("Name an image that is made for this card in imageRef, firmwareRefs or serviceRefs"),
    /// The image is made for certain cards, and what this one is has not been read yet.
    ImageFitNotKnown => IfItLasts("Look at the card's DpuInventory: have an agent run that can tell, resolve what contradicts itself there, or name an image that does not ask for it"),
    /// The image is older than the policy allows, or than one that the card has run.
    SecurityVersionTooLow => AtOnce("Name an image with that security version or a higher one in imageRef, firmwareRefs or serviceRefs; the message says who asks for it"),
    /// A signer's key in the policy cannot be used, so nothing that it signs counts.
    SignerUnusable => AtOnce("Correct its publicKey in spec.images.signers: PEM as openssl pkey -pubout writes it, P-256, P-384 or Ed25519"),
    /// A component of the card runs a version that the wanted image does not fit.
    RequirementNotMet => AtOnce("Bring that component to such a version, or name an image that fits in imageRef; the install goes on by itself once the inventory shows it"),
    /// The wanted image asks for the version of a component, and nobody tells it now, or not so that it could be compared.
    RequirementNotKnown => IfItLasts("Look at spec.firmware of the card's DpuInventory: use a name and versions that stand there, which takes another DpuImage; or have the agent that can tell run, and its BMC answer"),
    /// A template of the wanted image is not understood, so the card's own files cannot be made.
    TemplateInvalid => AtOnce("Create another DpuImage whose template is right, and name it in imageRef; docs/configuration.md says what templates can do"),
    /// A template of the wanted image uses a value that the card does not give.
    ValueMissing => AtOnce("Add it to spec.values of the Dpu, or set what else it names there; or name a DpuImage in imageRef whose template has a default for it"),
    /// The site agent tried to make the card's own files and could not: a Secret or a slot is missing, or a file does not fit.
    ConfigurationRefused => Nothing,
    /// The site agent has not tried yet to make the card's own files.
    MakingConfiguration => IfItLasts("Look at the site agent's log; one of an older release makes no files: upgrade it"),
    /// The host is up, or may be, and may not be disturbed.
    HostInUse => AtOnce("Power the host off yourself, or set disruption: Allowed on the DpuHost"),
    /// A card is to be changed beside a host that is up, or will be, and may not be disturbed.
    DisruptionNotAllowed => AtOnce("Set disruption: Allowed on the DpuHost, or order: XpuFirst with a hold that powers the host off on the policy"),
    /// The host's role keeps it from being held or cycled.
    HostIsInfrastructure => AtOnce("Install this card by hand, in a maintenance window of the host"),
    /// The host's power state is not known.
    HostStateUnknown => AtOnce("Give the DpuHost a bmc that answers, or use role ChassisOnly if there is no server"),
    /// The host may be in use: its Node is Ready, silent or missing, and nobody has proved that it is drained.
    DrainNotProved => AtOnce("Drain the Node and shut the host down; if nodeName is wrong, correct it"),
    /// Holding the host powered off needs slots that keep power, and that is not known to be so.
    HoldNeedsSlotPower => AtOnce("If the slots keep power while the host is off, set slotPowerWhenHostOff: \"Yes\" on the DpuHost (and change retryToken on the Dpu, if it was measured to be No); otherwise add NodeTainted to the policy's hold.mechanisms, or set hostWait.until: None"),
    /// Holding the host by a taint needs its Node, and leave to change cards beside a host that is up.
    HoldNeedsNode => AtOnce("Set nodeName on the DpuHost to the host's Node, which must exist, or run the host agent there, which proves it, and disruption: Allowed; a policy whose onTimeout is PowerOff cannot use NodeTainted"),
    /// The host is held by the taint of its Node, and the Node does not show it yet.
    TaintingNode => IfItLasts("Look at the operator's log and at its right to patch Nodes"),
    /// The card's slot has no power while its host is off.
    SlotHasNoPower => AtOnce("If that is wrong, set slotPowerWhenHostOff: \"Yes\" on the DpuHost and change retryToken on the Dpu; otherwise the host must be on: set disruption: Allowed on the DpuHost and order: HostFirst on the policy"),
    /// Another card of the host cannot be installed, so a hold would not end.
    HoldWouldNotEnd => AtOnce("Remove what stands in the way of that card, unset its imageRef, or delete its Dpu"),
    /// The host has more cards than its record can hold.
    TooManyCards => AtOnce("Give this card to another DpuHost, or delete Dpus that stand for no card"),
    /// The host is up though it should be held.
    HoldBroken => AtOnce("Find out who powered the host on; power it off to have it held again. Its Node, if it has one, takes no new pods until the hold ends"),
    /// The host waited for its cards for as long as the policy allows.
    HostWaitTimedOut => AtOnce("Repair the card and change its retryToken, or set hostWait.onTimeout: Continue on the policy to let the host go without it"),
    /// A machine is in a stage in which its power must not be cut.
    StageForbids => IfItLasts("Look at the machine's console; power it off by hand once that is safe"),
    /// Something is written at a BMC that nobody here began, or it copies firmware for itself, or that could not be read: its machine keeps its power.
    BmcBusy => IfItLasts("Look at the tasks of that BMC; restart it if one of them says that it runs and does not end. If they cannot be read, see whether its account may read them, then restart it"),
    /// A machine's stage cannot be told, and the policy says not to guess.
    StageNotObservable => AtOnce("Shut the card's operating system down yourself, or set unobservableStage.action: SafeAfter on the policy"),
    /// A machine is being shut down.
    ShuttingDown => IfItLasts("Look at the machine's console; power it off by hand once that is safe"),
    /// A directive waits for its executor.
    DirectivePending => IfItLasts("Look at the site agent's log"),
    /// The card was powered on and its own agent is awaited.
    AwaitingOs => IfItLasts("Look at the card's console and at its network"),
    /// The card's own agent is awaited, and the site's store sees why whoever is to fetch the image gets nothing.
    ImageNotFetched => IfItLasts("See to it that the card's BMC, or its firmware, reaches the site's store; docs/images.md has what each of these says"),
    /// The card was installed, and its own agent is silent now.
    CardAgentSilent => AtOnce("Look at the card's console, at its network, and whether its token has ended, where the API server grants none for long; Lockstep does not reset a card because it is silent"),
    /// The card's BMC took that it boots the card from the network every time, and does not show that any more.
    NetworkBootLost => AtOnce("It is set again by itself. If it is lost again, look whether a person or a program changes the card's boot settings, and at the firmware of its BMC"),
    /// The boot entry of what the card runs was put first in its boot order, and is not first any more.
    BootOrderLost => AtOnce("It is put right by itself. If it is lost again, look whether a person or a program changes the card's boot order, and at the firmware of the card"),
    /// The card was installed and is powered off now, or is off and must be on to be installed.
    CardPoweredOff => AtOnce("Power the card on, or change retryToken to have it installed again"),
    /// The install failed as often as the policy allows.
    InstallFailed => AtOnce("Look at the card's console; then change retryToken on the Dpu, or name another image"),
    /// The card's BMC was asked to write firmware, or what lets it run was done, and the wanted version is awaited.
    AwaitingFirmware => IfItLasts("Look at componentUpdate in the report of the card's BMC, and at the BMC's own log"),
    /// Updates of the card's firmware failed as often as the policy allows.
    FirmwareFailed => AtOnce("Look at failures in the status of its DpuHost and at the BMC's own log; then change retryToken on the Dpu, or name another image in firmwareRefs"),
    /// A card's host was to write firmware to it, and nobody knows whether all of that is there.
    FirmwareTorn => AtOnce("Leave host and card on. Look at the kernel's log of that host and at what its driver lists (devlink dev info); once the driver has ended, change retryToken on the Dpu: the firmware is then written anew if it is wanted still. Where it is not, change retryToken once more when you know that all of it is there. If the card has left this host, power the host off and on yourself"),
    /// Firmware is written at the card that may not run: nobody wants it any more, or it is not trusted any more. No BMC takes it back.
    FirmwareArmed => AtOnce("Name an image that may go there in firmwareRefs, which is written over it; or want and trust that one again; or power the card off and on yourself, which lets it run"),
    /// The card's firmware was seen to run as wanted, and somebody else has changed it since.
    FirmwareChanged => AtOnce("Find out who did; then change retryToken on the Dpu to have the wanted version written again, or name what runs in firmwareRefs, or drop that image from it"),
    /// The card was seen to run its image, and somebody else has put another one in its place since.
    SystemChanged => AtOnce("Find out who did; then change retryToken on the Dpu to have the wanted image installed again, or name what runs in imageRef"),
    /// The card was seen to run its image and has booted another one of its own disk, and nobody has seen that its boot order was changed: Lockstep had not put it right, or the wanted one does not come up.
    OtherSlotRuns => AtOnce("See at the card's console whether the wanted slot comes up, and whether its boot order was put right: failed in the status of the DpuHost, the policy's mode, paused, the role of the host; then reboot the card into the wanted entry, or change retryToken on the Dpu, or name what runs in imageRef"),
    /// An image that brings firmware along has put another version in the place of the one that `firmwareRefs` name.
    FirmwareContradicted => AtOnce("Name in firmwareRefs what the image brings, or drop that component from it; or name an image in imageRef that brings what firmwareRefs say, and change retryToken on the Dpu with it"),
    /// The card's image was put back as often as the policy's `onDrift` has it put back, and somebody has put another one in its place again.
    DriftRepairsSpent => AtOnce("Find out who changes it; then change retryToken on the Dpu, which has it installed again and may be followed by as many repairs, or name what runs in imageRef"),
    /// The wanted image did not come up, and the card runs the one again that it was last seen to run.
    RolledBack => AtOnce("Look at failures in the status of its DpuHost; then change retryToken on the Dpu to have the wanted image tried again, or name another one in imageRef; one that names what runs accepts it"),
    /// The card runs the system of its image, and not all the firmware that the image brings.
    BundleIncomplete => AtOnce("Look at the card's console for the part of the installer that failed; if a version is stored there and does not run yet, power the card off and on. A component can be brought up by an image of its own in firmwareRefs"),
    /// Two of the services that are wanted of a card are images of one service.
    ServiceNamedTwice => AtOnce("Name one image of each service in serviceRefs"),
    /// The agent in the card's operating system runs no services: it is of an older release, or its seed tells it of no store.
    ServicesUnsupported => AtOnce("Set xpu.services in the configuration of the site agent, and install the card again with an image whose agent is of this release; docs/services.md says what else it takes"),
    /// The card's agent fetches a service, starts it, or puts one version in the place of another.
    ServiceStarting => IfItLasts("Look at services in the report of the card's agent, and at its log on the card"),
    /// A service is not wanted any more, and the card's agent has not stopped it yet.
    ServiceStopping => IfItLasts("Look at services in the report of the card's agent, and at its log on the card"),
    /// A service could not be fetched or started on the card, or ends by itself.
    ServiceFailing => AtOnce("The message has the last words of the service or of the fetch; mend the payload and name another image of the service in serviceRefs, or unname it"),
    /// The card's agent cannot read what is offered to its card, and leaves its services as they are.
    ServicesUnread => AtOnce("Let cards read their Dpu: bind the ClusterRole lockstep-xpu-services as docs/services.md shows"),
    /// The card is retired: it is off, and nothing is wanted of it any more.
    Retired => AtOnce("Delete the Dpu once the card is taken out; or unset retired to take it into use again"),
    /// The card is not wiped: what is asked for does not hold of it, or not any more.
    WipeRefused => AtOnce("Set spec.wipe of the Dpu anew: another token, confirm as its identity says, and notAfter within the next 24 hours; or unset it"),
    /// A wipe of the card began, and not all of it is known to have been done. Nothing else is done to the card.
    WipeFailed => AtOnce("Look at status.wipe of the Dpu and at the card's console; then set another token and notAfter in spec.wipe to have it wiped again, or unset spec.wipe to give it up"),
    /// Foreign media are inserted in the card's BMC.
    ForeignMedia => AtOnce("Eject them, if nobody needs them"),
    /// A directive failed. It is tried again a few times, ever later, and then a person is asked.
    DirectiveFailed => Nothing,
    /// The host was released and is awaited.
    AwaitingHost => IfItLasts("Look at the host's console and at its kubelet"),
    /// The recorded state is older than what the agents have done: only observing for now.
    Adopting => Nothing,
    /// The record holds something that this release does not know, or that no release can have written.
    UnknownRecord => AtOnce("Upgrade the operator to at least the release that wrote it, or if somebody edited the status, mend it"),
    /// The object is being deleted, and something must be undone first.
    UndoingBeforeDelete => IfItLasts("Look at the card's console; an offline release frees the host at once"),
}
