"""The mathematics: schedule, forward process, prediction, reverse process, loss; `process` ties them together."""
