package vaultstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Methods of logging in, for [AuthConfig.Method].
const (
	MethodTokenFile  = "token_file"
	MethodAppRole    = "approle"
	MethodKubernetes = "kubernetes"
	MethodJWT        = "jwt"
)

// defaultServiceAccountFile is where Kubernetes puts a pod's token
// (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
const defaultServiceAccountFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// AuthConfig is one way to log in to Vault. Method chooses which of the other fields
// count; one that does not belong to the method is an error. All files are read anew at
// each login, and need not be there before; white space around their content is cut off.
type AuthConfig struct {
	// `token_file`, `approle`, `kubernetes` or `jwt`. Required.
	Method string `json:"method,omitempty"`

	// For token_file: a file with a token, such as the sink of a Vault Agent. It is read
	// anew when it changes, looked at once a second at most. Whoever writes it renews the
	// token.
	TokenFile string `json:"token_file,omitempty"`

	// For approle: the role's id, which is no secret, or a file that holds it.
	RoleID     string `json:"role_id,omitempty"`
	RoleIDFile string `json:"role_id_file,omitempty"`

	// For approle: a file that holds the secret id.
	SecretIDFile string `json:"secret_id_file,omitempty"`

	// For kubernetes and jwt: the role to log in with. Default for jwt: the mount's
	// `default_role`.
	Role string `json:"role,omitempty"`

	// For kubernetes and jwt: a file that holds the JSON Web Token to present. Default for
	// kubernetes: `/var/run/secrets/kubernetes.io/serviceaccount/token`, the pod's own.
	JWTFile string `json:"file,omitempty"`

	// For all but token_file: where the login is mounted below `auth/`. Default: the
	// method's name.
	Mount string `json:"mount,omitempty"`
}

func (a AuthConfig) withDefaults() AuthConfig {
	a.Mount = strings.Trim(a.Mount, "/")
	if a.Mount == "" && a.Method != MethodTokenFile {
		a.Mount = a.Method
	}
	if a.JWTFile == "" && a.Method == MethodKubernetes {
		a.JWTFile = defaultServiceAccountFile
	}
	return a
}

// Validate reports what the method lacks or has too much, defaults applied.
func (a *AuthConfig) Validate() error {
	full := a.withDefaults()
	a = &full
	// Which fields a method needs; those marked false it only may have.
	var fields map[string]bool
	switch a.Method {
	case MethodTokenFile:
		fields = map[string]bool{"token_file": true}
	case MethodAppRole:
		if a.RoleID != "" && a.RoleIDFile != "" {
			return errors.New("auth approle needs one of role_id_file and role_id, not both")
		}
		fields = map[string]bool{"role_id": a.RoleIDFile == "", "role_id_file": a.RoleID == "", "secret_id_file": true, "mount": true}
		if a.RoleID == "" && a.RoleIDFile == "" {
			return errors.New("auth approle needs one of role_id_file and role_id")
		}
	case MethodKubernetes:
		fields = map[string]bool{"role": true, "file": true, "mount": true}
	case MethodJWT:
		fields = map[string]bool{"role": false, "file": true, "mount": true}
	case "":
		return errors.New("auth is missing: one of token_file, approle, kubernetes and jwt")
	default:
		return fmt.Errorf("auth '%s' is none of token_file, approle, kubernetes and jwt", a.Method)
	}
	for _, field := range []struct{ name, value string }{
		{"token_file", a.TokenFile}, {"role_id", a.RoleID}, {"role_id_file", a.RoleIDFile}, {"secret_id_file", a.SecretIDFile},
		{"role", a.Role}, {"file", a.JWTFile}, {"mount", a.Mount},
	} {
		needed, known := fields[field.name]
		switch {
		case needed && field.value == "":
			return fmt.Errorf("auth %s needs %s", a.Method, field.name)
		case !known && field.value != "":
			return fmt.Errorf("auth %s takes no %s", a.Method, field.name)
		}
	}
	if a.Mount != "" {
		return checkPath("auth mount", a.Mount)
	}
	return nil
}

// maxSecretFile is the size in bytes above which a file holds no token.
const maxSecretFile = 64 << 10

// readSecret returns the one word of a file, without the white space around it.
func readSecret(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(content))
	switch {
	case secret == "":
		return "", fmt.Errorf("file %s is empty", name)
	case len(content) > maxSecretFile || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("file %s does not hold one word of printable ASCII", name)
	}
	return secret, nil
}
