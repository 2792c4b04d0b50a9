package body

// SkipReason is why a body cannot be sent again, "" if it can.
type SkipReason string

// The reasons.
const (
	TooLarge    SkipReason = "body-too-large"    // longer than Limits.MaxBody
	Failed      SkipReason = "recording-failed"  // the file in Limits.Dir could not be written
	NotRecorded SkipReason = "body-not-recorded" // a CONNECT or Upgrade, or the answer to it was passed on already
)
