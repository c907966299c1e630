# OpenBao of compose.yaml: TLS 1.3 with client certificates, unsealed by a key in a file, set up by itself at its first start.
# Whoever has the volumes openbao-data and openbao (the seal key) has the wrapping keys: back them up apart from each other,
# and from the blobs. For a KMS that is another trust zone, run OpenBao elsewhere, and name it in kms.toml.

storage "raft" {
  path    = "/openbao/data"
  node_id = "openbao"
}

listener "tcp" {
  address                            = "0.0.0.0:8200"
  tls_min_version                    = "tls13"
  tls_cert_file                      = "/certs/public.crt"
  tls_key_file                       = "/certs/private.key"
  tls_client_ca_file                 = "/certs/ca.crt"
  tls_require_and_verify_client_cert = true
}

api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"

seal "static" {
  current_key_id = "1"
  current_key    = "file:///certs/seal.key"
}

# Values are hashed with a key of OpenBao's own.
audit "file" "stdout" {
  options {
    file_path = "stdout"
  }
}

# Only at the first start. The root token is used for this alone, shown to nobody, and revoked.
initialize "sealgate" {
  request "mount" {
    operation = "update"
    path      = "sys/mounts/transit"
    data = {
      type = "transit"
    }
  }

  request "key" {
    operation = "update"
    path      = "transit/keys/sealgate"
    data = {
      type = "aes256-gcm96"
    }
  }

  request "policy" {
    operation = "update"
    path      = "sys/policies/acl/sealgate"
    data = {
      policy = <<EOT
path "transit/encrypt/sealgate" { capabilities = ["update"] }
path "transit/decrypt/sealgate" { capabilities = ["update"] }
path "transit/rewrap/sealgate" { capabilities = ["update"] }
path "transit/keys/sealgate" { capabilities = ["read"] }
EOT
    }
  }

  # Rotation, and nothing besides: the certificate in the volume `openbao` may sign in for it.
  request "rotation-policy" {
    operation = "update"
    path      = "sys/policies/acl/rotation"
    data = {
      policy = <<EOT
path "transit/keys/sealgate" { capabilities = ["read"] }
path "transit/keys/sealgate/rotate" { capabilities = ["update"] }
path "sys/storage/raft/snapshot" { capabilities = ["read"] }
EOT
    }
  }

  request "sign-in" {
    operation = "update"
    path      = "sys/auth/cert"
    data = {
      type = "cert"
    }
  }

  request "gateways" {
    operation = "update"
    path      = "auth/cert/certs/sealgate"
    data = {
      certificate = {
        eval_type   = "string"
        eval_source = "file"
        path        = "/certs/ca.crt"
      }
      allowed_common_names = ["sealgate"]
      token_policies       = ["sealgate"]
      token_ttl            = "1h"
    }
  }

  request "operator" {
    operation = "update"
    path      = "auth/cert/certs/operator"
    data = {
      certificate = {
        eval_type   = "string"
        eval_source = "file"
        path        = "/certs/ca.crt"
      }
      allowed_common_names = ["openbao-operator"]
      token_policies       = ["rotation"]
      token_ttl            = "5m"
    }
  }
}
