//! Requests that must not be carried out twice: prompts, benchmarks, scores.

use std::time::Duration;

use briquette_protocol::{FrameError, Refusal, Request, Response, StopReason};

use super::client::{ASK_AGAIN, ATTEMPTS, Client, send};
use super::{DeviceError, Line};

/// A device that is silent for longer is asked whether it is working at all.
const PROBE: Duration = Duration::from_secs(3);

impl Client {
    /// Sends `request` and hands responses to `look` until it is done. It is sent
    /// again only when the device turns out not to have received it.
    pub(super) fn work(
        &mut self,
        request: &Request<'_>,
        interrupted: &dyn Fn() -> bool,
        mut look: impl FnMut(Response<'_>),
    ) -> Result<StopReason, DeviceError> {
        let patience = self.patience.work;
        let mut work = Work::default();
        send(self.line_mut(), request)?;
        loop {
            let within = work.patience(patience);
            let mut stop = |line: &mut Line| {
                if !work.is_stopping && interrupted() {
                    work.is_stopping = true;
                    send(line, &Request::Stop)?;
                }
                Ok(())
            };
            let received = self.receive(within, &mut stop, |response| match response {
                Response::Done(reason) => Event::End(Ok(reason)),
                Response::Refused(Refusal::Frame(_)) => Event::Damaged,
                Response::Refused(Refusal::Busy) if work.is_probed => Event::Busy,
                Response::Statistics(_) if work.is_probed => Event::Idle,
                Response::Refused(refusal) => Event::End(Err(refusal)),
                response => {
                    look(response);
                    Event::Progress
                }
            });
            let event = match received {
                Err(DeviceError::Silent { .. }) if within < patience => Event::Silence,
                received => received?,
            };
            work.is_received |= !matches!(event, Event::Silence | Event::Damaged);
            match event {
                Event::Progress => {}
                Event::End(end) => {
                    self.forget_probe(&work)?;
                    return Ok(end?);
                }
                Event::Damaged if work.is_stopping => send(self.line_mut(), &Request::Stop)?,
                Event::Damaged | Event::Silence if work.is_probed => {}
                Event::Damaged | Event::Silence => {
                    work.is_probed = true;
                    send(self.line_mut(), &Request::Statistics)?;
                }
                Event::Busy => work.is_probed = false,
                Event::Idle if work.is_stopping => return Ok(StopReason::Stopped),
                Event::Idle if work.lost == ATTEMPTS => {
                    return Err(Refusal::Frame(FrameError::Broken).into());
                }
                Event::Idle => {
                    work.is_probed = false;
                    work.is_received = false;
                    work.lost += 1;
                    send(self.line_mut(), request)?;
                }
            }
        }
    }

    /// Waits for what the device says to a probe that it has not answered yet.
    fn forget_probe(&mut self, work: &Work) -> Result<(), DeviceError> {
        let mut waits = work.is_probed;
        while waits {
            let received = self.receive(ASK_AGAIN, &mut |_| Ok(()), |response| {
                matches!(
                    response,
                    Response::Statistics(_) | Response::Refused(Refusal::Busy)
                )
            });
            waits = match received {
                Err(DeviceError::Silent { .. } | DeviceError::Damaged { .. }) => false,
                received => !received?,
            };
        }
        Ok(())
    }
}

/// The progress of a request that must not be carried out twice.
#[derive(Debug, Default)]
struct Work {
    is_stopping: bool,
    /// Whether the device has said anything about it.
    is_received: bool,
    /// Whether the device was asked for its statistics and has not answered. A
    /// device answers in turn, and refuses this while it works: so its answer
    /// tells whether it works.
    is_probed: bool,
    /// How many times it was lost.
    lost: u32,
}

impl Work {
    /// How long the device may be silent now.
    fn patience(&self, patience: Duration) -> Duration {
        if self.is_received || self.is_probed {
            patience
        } else {
            PROBE.min(patience)
        }
    }
}

/// What happens to such a request.
enum Event {
    Progress,
    End(Result<StopReason, Refusal>),
    /// The device has received a broken frame.
    Damaged,
    Silence,
    /// The device works on it.
    Busy,
    /// The device does not work on it.
    Idle,
}
