package credential

import (
	"fmt"
	"strings"
)

// PermissionError is an [ErrForbidden] that says what the store's policy does not allow.
// It holds no tenant's name.
type PermissionError struct {
	// Capabilities are those that are missing, in the store's words: "read". Of several
	// it may be one alone.
	Capabilities []string

	// Path is where they are missing, as a pattern for all tenants of a provider, in
	// the store's notation: "secret/data/upstream-auth/*".
	Path string
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("the store's policy does not allow %s on %s", strings.Join(e.Capabilities, " or "), e.Path)
}

// Is makes errors.Is hold for [ErrForbidden] and [ErrUnavailable].
func (e *PermissionError) Is(target error) bool {
	return target == ErrForbidden || target == ErrUnavailable
}
