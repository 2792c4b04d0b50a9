package body

// SkipReason is why a body cannot be sent again, "" if it can.
type SkipReason string

// The reasons.
const (
	TooLarge    SkipReason = "body-too-large"    // longer than Limits.MaxBody
	Failed      SkipReason = "recording-failed"  // the file in Limits.Dir could not be written
	OverBudget  SkipReason = "recording-limit"   // too much is recorded already, or the disk is nearly full
	NotRecorded SkipReason = "body-not-recorded" // a CONNECT or Upgrade, or the answer to it was passed on already
)
