package credential

import (
	"errors"
	"strings"
)

// Errors of a tenant's name. They never repeat the name.
var (
	// ErrTenantMissing says that no tenant was named.
	ErrTenantMissing = errors.New("no tenant named")

	// ErrTenantInvalid says that a tenant's name breaks the rule of [ParseTenant].
	ErrTenantInvalid = errors.New("tenant name is not valid")
)

// maxTenantLength is the length of the longest tenant name in bytes.
const maxTenantLength = 128

// Tenant names on whose behalf a request is made. A Tenant made by
// [ParseTenant] can stand in a path of the store: it holds no slash, no
// control character and no "..".
type Tenant string

// ParseTenant checks name and returns it as it is: a tenant's name is never
// normalised, so that two spellings are two tenants. A name starts with a letter
// or a digit, goes on with letters, digits, '.', '_', '@' and '-', is at most 128
// bytes long and holds no "..". The error is [ErrTenantMissing] for the empty
// name, else [ErrTenantInvalid].
func ParseTenant(name string) (Tenant, error) {
	if name == "" {
		return "", ErrTenantMissing
	}
	if len(name) > maxTenantLength || !isAlphanumeric(name[0]) || strings.Contains(name, "..") {
		return "", ErrTenantInvalid
	}
	for i := 1; i < len(name); i++ {
		switch c := name[i]; {
		case isAlphanumeric(c), c == '.', c == '_', c == '@', c == '-':
		default:
			return "", ErrTenantInvalid
		}
	}
	return Tenant(name), nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
