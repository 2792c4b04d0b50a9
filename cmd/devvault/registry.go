package main

import (
	"maps"
	"slices"

	"github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// The secrets engines and logins that can be mounted. Vault's own list is left
// out on purpose: it pulls in every cloud and database there is.
var (
	logicalBackends = map[string]logical.Factory{
		"kv":      kv.Factory,
		"transit": transit.Factory,
	}
	credentialBackends = map[string]logical.Factory{
		"approle":    approle.Factory,
		"jwt":        jwtauth.Factory,
		"kubernetes": kubeauth.Factory,
		"userpass":   userpass.Factory,
	}
)

// registry is the plugin catalog's view of the same factories. The core takes
// it for granted: without one, a mount panics.
type registry struct{}

func (registry) factories(pluginType consts.PluginType) map[string]logical.Factory {
	switch pluginType {
	case consts.PluginTypeSecrets:
		return logicalBackends
	case consts.PluginTypeCredential:
		return credentialBackends
	default:
		return nil
	}
}

func (r registry) Get(name string, pluginType consts.PluginType) (func() (any, error), bool) {
	factory, ok := r.factories(pluginType)[name]
	return func() (any, error) { return factory, nil }, ok
}

func (r registry) Contains(name string, pluginType consts.PluginType) bool {
	_, ok := r.factories(pluginType)[name]
	return ok
}

func (r registry) Keys(pluginType consts.PluginType) []string {
	return slices.Sorted(maps.Keys(r.factories(pluginType)))
}

func (r registry) DeprecationStatus(name string, pluginType consts.PluginType) (consts.DeprecationStatus, bool) {
	if !r.Contains(name, pluginType) {
		return consts.Unknown, false
	}
	return consts.Supported, true
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
