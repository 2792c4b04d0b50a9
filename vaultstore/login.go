package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// A lease is how long a token lives.
type lease struct {
	duration  time.Duration // 0: for ever
	renewable bool
}

// maxSeconds is the longest Duration in seconds.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// leaseOf returns the lease in Vault's answer to a login or a renewal.
func leaseOf(secret *api.Secret) lease {
	// Vault counts in seconds; what does not fit into a Duration is for ever.
	if secret.Auth.LeaseDuration < 0 || int64(secret.Auth.LeaseDuration) > maxSeconds {
		return lease{}
	}
	return lease{time.Duration(secret.Auth.LeaseDuration) * time.Second, secret.Auth.Renewable}
}

var errNoToken = errors.New("the answer of Vault to the login has no token")

// logIn reads the files of the method and logs in.
func (a *AuthConfig) logIn(ctx context.Context, client *api.Client) (string, lease, error) {
	secret, err := a.requestToken(ctx, client)
	switch {
	case err != nil:
		return "", lease{}, err
	case secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "":
		return "", lease{}, errNoToken
	}
	return secret.Auth.ClientToken, leaseOf(secret), nil
}

func (a *AuthConfig) requestToken(ctx context.Context, client *api.Client) (*api.Secret, error) {
	switch a.Method {
	case MethodAppRole:
		return a.requestByAppRole(ctx, client)
	case MethodKubernetes:
		jwt, err := readSecret(a.JWTFile)
		if err != nil {
			return nil, err
		}
		method, err := kubernetes.NewKubernetesAuth(a.Role, kubernetes.WithServiceAccountToken(jwt), kubernetes.WithMountPath(a.Mount))
		if err != nil {
			return nil, err
		}
		secret, err := method.Login(ctx, client)
		if err != nil {
			return nil, loginError(err, jwt)
		}
		return secret, nil
	case MethodJWT:
		jwt, err := readSecret(a.JWTFile)
		if err != nil {
			return nil, err
		}
		// https://developer.hashicorp.com/vault/api-docs/auth/jwt#jwt-login
		fields := map[string]any{"jwt": jwt}
		if a.Role != "" {
			fields["role"] = a.Role
		}
		secret, err := client.Logical().WriteWithContext(ctx, "auth/"+a.Mount+"/login", fields)
		if err != nil {
			return nil, loginError(err, jwt)
		}
		return secret, nil
	default:
		return nil, fmt.Errorf("auth method %q does not log in", a.Method)
	}
}

func (a *AuthConfig) requestByAppRole(ctx context.Context, client *api.Client) (*api.Secret, error) {
	roleID := a.RoleID
	if a.RoleIDFile != "" {
		var err error
		if roleID, err = readSecret(a.RoleIDFile); err != nil {
			return nil, err
		}
	}
	secretID, err := readSecret(a.SecretIDFile)
	if err != nil {
		return nil, err
	}
	method, err := approle.NewAppRoleAuth(roleID, &approle.SecretID{FromString: secretID}, approle.WithMountPath(a.Mount))
	if err != nil {
		return nil, err
	}
	secret, err := method.Login(ctx, client)
	if err != nil {
		return nil, loginError(err, roleID, secretID)
	}
	return secret, nil
}
