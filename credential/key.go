package credential

import (
	"fmt"
	"strings"
)

// maxProviderLength is the length of the longest provider name in bytes.
const maxProviderLength = 63

// Key names one credential: what one provider needs for one tenant. Some keys name what
// a store keeps of the sidecar's own beside them.
type Key struct {
	Provider string
	Tenant   Tenant
}

// What a store keeps of the sidecar's own lies under names that no provider has.
const (
	journalName = "_journal"
	linksName   = "_links"
)

// JournalKey names the document in which the journals' own key is kept. No
// provider's credential can lie there.
func JournalKey() Key { return Key{Provider: journalName} }

// LinksKey names the document with the keys that links to connect are sealed with.
func LinksKey() Key { return Key{Provider: linksName} }

// Links names the document in which the links are registered by which an account is
// connected to k. Its Provider is the one of k behind "_links/".
func (k Key) Links() Key { return Key{Provider: linksName + "/" + k.Provider, Tenant: k.Tenant} }

// IsOwn reports whether k, which is well formed, names a document of the sidecar's own
// and no credential.
func (k Key) IsOwn() bool { return strings.HasPrefix(k.Provider, "_") }

// Check reports whether both names of k are well formed. Stores call it before
// they build a path from k, so that a name that went round [ParseTenant] still
// cannot leave its place. The error is [ErrTenantMissing], [ErrTenantInvalid] or
// that of [CheckProvider].
func (k Key) Check() error {
	if k == JournalKey() || k == LinksKey() {
		return nil
	}
	if err := CheckProvider(strings.TrimPrefix(k.Provider, linksName+"/")); err != nil {
		return err
	}
	_, err := ParseTenant(string(k.Tenant))
	return err
}

// CheckProvider reports whether name can name a provider: a lower-case letter or
// a digit, then lower-case letters, digits, '_' and '-', at most 63 bytes in all.
func CheckProvider(name string) error {
	valid := name != "" && len(name) <= maxProviderLength
	for i := 0; valid && i < len(name); i++ {
		c := name[i]
		valid = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && (c == '_' || c == '-')
	}
	if !valid {
		return fmt.Errorf("provider name %q does not match ^[a-z0-9][a-z0-9_-]{0,62}$", name)
	}
	return nil
}
