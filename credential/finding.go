package credential

// Finding is one thing that was looked at to see whether a store can do its work,
// in words for an operator. It holds no secret and no tenant's name.
type Finding struct {
	// Check names what was looked at: "vault", "login", "mount", "policy" or "clock"
	// of a Vault; "key_file" or "database" of a local store.
	Check string `json:"check"`

	// OK says that nothing has to be done.
	OK bool `json:"ok"`

	// Warning says that it is OK and all the same worth knowing.
	Warning bool `json:"warning,omitempty"`

	// Detail is what was seen.
	Detail string `json:"detail"`

	// Remedy is what to do; empty if OK.
	Remedy string `json:"remedy,omitempty"`
}
