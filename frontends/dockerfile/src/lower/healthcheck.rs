//! HEALTHCHECK.

use super::stage::Lowerer;
use crate::{
    image::Health,
    instruction::{Healthcheck, Instruction},
    source::Problem,
    text::duration,
};

impl Lowerer<'_, '_> {
    pub(super) fn healthcheck(&mut self, check: &Healthcheck, at: &Instruction) -> Result<(), Problem> {
        let before = self.healthcheck.replace(at.clone());
        self.only_last_counts(before);
        self.history(
            format!(
                "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
                check.test.join(" "),
                duration::format(check.interval),
                duration::format(check.timeout),
                duration::format(check.start_period),
                duration::format(check.start_interval),
                check.retries
            ),
            false,
        );
        self.state.image.config.healthcheck = Some(Health {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries.into(),
        });
        Ok(())
    }
}
