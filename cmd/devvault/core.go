package main

import (
	"context"
	"fmt"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/metricsutil"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// newCore builds a sealed core on st. Memory is not locked: there is nothing in
// here worth it, and where the right to do so is missing Vault would not start.
func newCore(st *storage, apiAddress string, logger hclog.Logger) (*vault.Core, error) {
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           st.backend,
		StorageType:        st.kind,
		RedirectAddr:       apiAddress,
		LogicalBackends:    logicalBackends,
		CredentialBackends: credentialBackends,
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		BuiltinRegistry:    registry{},
		MetricsHelper:      metricsutil.NewMetricsHelper(metrics.NewInmemSink(10*time.Second, time.Minute), false), // sys/metrics panics without
		RawConfig:          server.NewConfig(),
		Logger:             logger,
		LogLevel:           logger.GetLevel().String(),
		DisableMlock:       true,
	})
	if err != nil {
		return nil, fmt.Errorf("vault core: %w", err)
	}
	return core, nil
}

// request asks core directly, as the API would.
func request(ctx context.Context, core *vault.Core, token string, op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	resp, err := core.HandleRequest(namespace.RootContext(ctx), &logical.Request{
		Operation:   op,
		ClientToken: token,
		Path:        path,
		Data:        data,
	})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", op, path, err)
	}
	return resp, nil
}
