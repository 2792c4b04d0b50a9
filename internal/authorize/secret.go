package authorize

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// maxSecretFile is the size of the largest file that is read for secrets, in bytes.
const maxSecretFile = 64 << 10

// checkSecret compares what r has with the tenant's own.
func (a *Authorizer) checkSecret(r *http.Request, tenant credential.Tenant) error {
	given, err := presented(r, a.config.Secret.header())
	if err != nil {
		return a.refuse("secret", err)
	}
	secrets, err := a.secrets(r, tenant)
	switch {
	case errors.Is(err, credential.ErrNotFound), errors.Is(err, credential.ErrInvalid), errors.Is(err, os.ErrNotExist):
		return a.refuse("secret", errors.New("the tenant has none"))
	case err != nil:
		return err
	}
	sum, matches := sha256.Sum256([]byte(given)), 0
	for _, secret := range secrets {
		own := sha256.Sum256([]byte(secret)) // of one length, whatever theirs
		matches |= subtle.ConstantTimeCompare(sum[:], own[:])
	}
	if matches == 0 {
		return a.refuse("secret", errors.New("it is another"))
	}
	return nil
}

// secrets returns those that a tenant has.
func (a *Authorizer) secrets(r *http.Request, tenant credential.Tenant) (secrets []string, err error) {
	if field := a.config.Secret.Field; field != "" {
		cred, err := a.Find(r.Context(), tenant)
		if err != nil {
			return nil, err
		}
		for _, value := range cred.Get(field).Array() {
			secrets = append(secrets, value.Str) // "" unless it is a string, which nobody can present
		}
		return secrets, nil
	}
	content, err := readFile(strings.ReplaceAll(a.config.Secret.File, tenantPlaceholder, string(tenant)))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(content)) {
		secrets = append(secrets, strings.TrimRight(line, "\r\n"))
	}
	return secrets, nil
}

// readFile returns what is in a file, in an error without its name, which has the tenant's
// in it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would be waited for
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, os.ErrNotExist
	case err != nil || !info.Mode().IsRegular() || info.Size() > maxSecretFile:
		return nil, fmt.Errorf("%w: the file of the tenant's secret cannot be read", credential.ErrUnavailable)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: the file of the tenant's secret cannot be read", credential.ErrUnavailable)
	}
	return content, nil
}
