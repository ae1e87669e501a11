"""The forms of secrets, by vendor, in one table: add a row for a new form.

Each form follows its vendor's documentation, so that hashes, UUIDs or pictures do not match. A form matches the whole
run of characters after its prefix, and no form can begin inside the remainder of another: so the search takes linear
time for any text.
"""

from __future__ import annotations

from typing import NamedTuple


class SecretForm(NamedTuple):
    """One form of a secret: `kind` appears in the replacement; a text without any of `literals` cannot match.

    A group in `pattern` is the text before the secret, which stays. `source` is the document that defines the form.
    """

    kind: str
    literals: tuple[str, ...]
    pattern: str
    source: str


_START = r"(?<![A-Za-z0-9])"
_ALONE = r"(?<![A-Za-z0-9_-])"
_SEPARATOR = r"""["'\\\s]{0,4}[:=]["'\\\s\[]{0,6}"""
_WITH_DIGIT = r"(?=[A-Za-z._~+/=-]*+[0-9])[A-Za-z0-9._~+/=-]"
_BASE64 = "[A-Za-z0-9+/]"
# Placeholders for a password in documentation.
_NO_EXAMPLE = r"(?!\$|\*|%[sd(]|\.\.|(?:pass(?:w(?:or)?d|w)?|pwd?|psw|secret|token|credentials?|x+|X+|[A-Z_]+)@)"
# A key's lines, also quoted, indented, numbered by a log, or added by a diff.
_KEY_LINES = r"[A-Za-z0-9+/=\s:,.>|\\-]"
_KEY_END = r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
# Possessive repetition only of character classes: for groups it is broken before CPython 3.11.5 (gh-106052).

FORMS = (
    SecretForm(
        "private-key",
        ("PRIVATE KEY",),
        rf"-----BEGIN [A-Z0-9 ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----(?={_KEY_LINES}{{64}})"
        rf"(?:{_KEY_LINES}*?{_KEY_END}|{_KEY_LINES}++)",
        "RFC 7468, 10 and 11; openssh-portable/PROTOCOL.key; RFC 9580, 6.2",
    ),
    SecretForm(
        "jwt",
        ("eyJ",),
        rf"{_ALONE}(?:ghs_[0-9]{{1,20}}_)?eyJ[A-Za-z0-9_-]{{8,}}+\."
        r"(?:eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+|[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]{8,}+){3})",
        "RFC 7519, 3; RFC 7516, 3.1",
    ),
    SecretForm("anthropic-key", ("sk-ant-",), r"sk-ant-[A-Za-z0-9_-]{16,}+", "https://docs.claude.com/en/api/overview"),
    SecretForm("openrouter-key", ("sk-or-",), r"sk-or-[A-Za-z0-9_-]{32,}+", "https://openrouter.ai/docs/api-reference"),
    SecretForm(
        # Prefixes that other texts use too. The preceding character is checked last: `task-1` is common.
        "openai-key",
        ("sk-",),
        r"sk-(?<![A-Za-z0-9_-]sk-)(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{32,}+|[A-Za-z0-9]{32,}+)",
        "https://platform.openai.com/docs/api-reference/authentication",
    ),
    SecretForm(
        "google-api-key",
        ("AIza",),
        rf"{_ALONE}AIza[A-Za-z0-9_-]{{35}}",
        "https://cloud.google.com/docs/authentication/api-keys",
    ),
    SecretForm(
        "google-oauth",
        ("ya29.", "GOCSPX-", "1//0"),
        rf"{_ALONE}(?:ya29\.[A-Za-z0-9_-]{{20,}}+|GOCSPX-[A-Za-z0-9_-]{{28}}|1//0[A-Za-z0-9_-]{{40,}}+)",
        "https://developers.google.com/identity/protocols/oauth2",
    ),
    SecretForm(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        rf"{_START}(?:gh[pousr]_[A-Za-z0-9]{{36,}}+|github_pat_[A-Za-z0-9_]{{40,}}+)",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    SecretForm(
        "gitlab-token",
        (
            *("glpat-", "gldt-", "glrt-", "glrtr-", "gloas-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-"),
            *("glcbt-", "glffct-", "glwt-", "GR1348941"),
        ),
        rf"{_START}(?:gl(?:pat|dt|rtr?|oas|ptt|ft|imt|agent|soat|cbt|ffct|wt)-|GR1348941)[A-Za-z0-9_-]{{20,}}+"
        r"(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    SecretForm(
        # A secret directly after its id is redacted with it.
        "aws-access-key",
        ("AKIA", "ASIA", "ABIA", "ACCA"),
        rf"{_START}(?:AKIA|ASIA|ABIA|ACCA)(?![A-Z2-7]{{9}}EXAMPLE)[A-Z2-7]{{16}}(?![A-Za-z0-9])"
        rf"""(?:[\s"',:;|\\]{{1,8}}{_BASE64}{{40}}(?![A-Za-z0-9+/=]))?""",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
    ),
    SecretForm(
        "aws-secret-key",
        ("ccessKey", "ccess_key", "CCESS_KEY", "essionToken", "ession_token", "ESSION_TOKEN"),
        r"((?:[Ss]ecretAccessKey|secret_access_key|SECRET_ACCESS_KEY|[Ss]essionToken|session_token|SESSION_TOKEN)"
        rf"""["'\\\s]{{0,4}}[:=>]["'\\\s>]{{0,6}}){_BASE64}{{40,}}+={{0,2}}""",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html",
    ),
    SecretForm(
        "aws-bedrock-key",
        ("ABSK",),
        rf"(?<![A-Za-z0-9+/])ABSK{_BASE64}{{96,}}+={{0,2}}",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html",
    ),
    SecretForm(
        "slack-token",
        ("xox", "xapp-"),
        rf"{_START}(?:(?:xoxe\.)?xox[abceoprs]-(?=[A-Za-z-]*+[0-9])[A-Za-z0-9-]{{10,}}+|xapp-[0-9]-[A-Za-z0-9-]{{20,}}+)",
        "https://docs.slack.dev/authentication/tokens",
    ),
    SecretForm(
        "slack-webhook",
        ("hooks.slack.com/",),
        r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[A-Za-z0-9_/]{20,}+",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
    ),
    SecretForm(
        "stripe-key",
        ("k_live_", "k_test_", "whsec_"),
        rf"{_START}(?:[rs]k_(?:live|test)_[A-Za-z0-9]{{16,}}+|whsec_[A-Za-z0-9+/=]{{32,}}+)",
        "https://docs.stripe.com/keys",
    ),
    SecretForm(
        "npm-token",
        ("npm_",),
        rf"{_ALONE}npm_[A-Za-z0-9]{{36}}(?![A-Za-z0-9_])",
        "https://docs.npmjs.com/about-access-tokens",
    ),
    SecretForm(
        "npm-token",
        (":_authToken", ":_password", ":_auth="),
        r"(:_(?:authToken|password|auth)\s{0,2}=\s{0,2})(?=[A-Za-z_-]*+[0-9+/=])[A-Za-z0-9+/=_-]{8,}+",
        "https://docs.npmjs.com/cli/configuring-npm/npmrc#auth-related-configuration",
    ),
    SecretForm("pypi-token", ("pypi-AgE",), r"pypi-AgE[A-Za-z0-9_-]{50,}+", "https://pypi.org/help/#apitoken"),
    SecretForm(
        "huggingface-token",
        ("hf_", "api_org_"),
        rf"{_ALONE}(?:hf|api_org)_[A-Za-z]{{34}}(?![A-Za-z0-9_])",
        "https://huggingface.co/docs/hub/security-tokens",
    ),
    SecretForm("groq-key", ("gsk_",), rf"{_ALONE}gsk_[A-Za-z0-9]{{48,}}+", "https://console.groq.com/docs/quickstart"),
    SecretForm("xai-key", ("xai-",), rf"{_ALONE}xai-[A-Za-z0-9]{{64,}}+", "https://docs.x.ai/docs/overview"),
    SecretForm(
        "perplexity-key",
        ("pplx-",),
        rf"{_ALONE}pplx-[A-Za-z0-9]{{40,}}+",
        "https://docs.perplexity.ai/guides/api-key-management",
    ),
    SecretForm(
        "replicate-token",
        ("r8_",),
        rf"{_ALONE}r8_[A-Za-z0-9]{{37}}(?![A-Za-z0-9_])",
        "https://replicate.com/docs/topics/security/api-tokens",
    ),
    SecretForm(
        "langsmith-key",
        ("lsv2_",),
        rf"{_ALONE}lsv2_(?:pt|sk)_[0-9a-f]{{32}}_[0-9a-f]{{10}}",
        "https://docs.langchain.com/langsmith/create-account-api-key",
    ),
    SecretForm(
        "databricks-token",
        ("dapi",),
        rf"{_ALONE}dapi[0-9a-f]{{32}}(?:-[0-9])?(?![A-Za-z0-9])",
        "https://docs.databricks.com/aws/en/dev-tools/auth/pat",
    ),
    SecretForm(
        "azure-key",
        ("AccountKey=", "SharedAccessKey="),
        rf"((?:Account|SharedAccess)Key=){_BASE64}{{40,}}+={{1,2}}",
        "https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string",
    ),
    SecretForm(
        "digitalocean-token",
        ("_v1_",),
        rf"{_ALONE}do[opr]_v1_[0-9a-f]{{64}}",
        "https://docs.digitalocean.com/reference/api/create-personal-access-token/",
    ),
    SecretForm(
        "docker-token",
        ("dckr_",),
        rf"{_ALONE}dckr_(?:pat|oat)_[A-Za-z0-9_-]{{20,}}+",
        "https://docs.docker.com/security/access-tokens/",
    ),
    SecretForm(
        "vault-token",
        ("hvs.", "hvb.", "hvr."),
        rf"{_ALONE}hv[sbr]\.[A-Za-z0-9_-]{{24,}}+",
        "https://developer.hashicorp.com/vault/docs/concepts/tokens",
    ),
    SecretForm(
        "terraform-token",
        (".atlasv1.",),
        rf"{_ALONE}[A-Za-z0-9]{{14}}\.atlasv1\.[A-Za-z0-9_=-]{{60,}}+",
        "https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens",
    ),
    SecretForm(
        "grafana-token",
        ("glsa_", "glc_"),
        rf"{_ALONE}(?:glsa_[A-Za-z0-9]{{32}}_[0-9a-f]{{8}}|glc_[A-Za-z0-9+/]{{32,}}+={{0,2}})",
        "https://grafana.com/docs/grafana/latest/administration/service-accounts/",
    ),
    SecretForm(
        "atlassian-token",
        ("ATATT3", "ATCTT3"),
        rf"{_START}AT[AC]TT3[A-Za-z0-9_-]{{60,}}+(?:=[0-9A-F]{{8}})?",
        "https://support.atlassian.com/atlassian-account/docs/manage-api-tokens-for-your-atlassian-account/",
    ),
    SecretForm(
        "sentry-token",
        ("sntrys_", "sntryu_"),
        rf"{_ALONE}sntry[su]_[A-Za-z0-9+/=_-]{{40,}}+",
        "https://docs.sentry.io/account/auth-tokens/",
    ),
    SecretForm(
        "linear-key", ("lin_api_",), rf"{_ALONE}lin_api_[A-Za-z0-9]{{32,}}+", "https://linear.app/developers/graphql"
    ),
    SecretForm(
        "sendgrid-key",
        ("SG.",),
        rf"{_START}SG\.[A-Za-z0-9_-]{{22}}\.[A-Za-z0-9_-]{{43}}",
        "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys",
    ),
    SecretForm(
        "telegram-token",
        (":AA",),
        r"(?<![A-Za-z0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])",
        "https://core.telegram.org/bots/api#authorizing-your-bot",
    ),
    SecretForm(
        "discord-webhook",
        ("/api/webhooks/",),
        r"(/api/webhooks/[0-9]{17,20}/)[A-Za-z0-9_-]{60,}+",
        "https://discord.com/developers/docs/resources/webhook",
    ),
    SecretForm(
        "rubygems-key",
        ("rubygems_",),
        rf"{_ALONE}rubygems_[0-9a-f]{{48}}",
        "https://guides.rubygems.org/api-key-scopes/",
    ),
    SecretForm(
        "tailscale-key",
        ("tskey-",),
        rf"{_ALONE}tskey-[a-z]{{3,12}}-[A-Za-z0-9-]{{20,}}+",
        "https://tailscale.com/kb/1085/auth-keys",
    ),
    SecretForm("age-key", ("AGE-SECRET-KEY-1",), r"AGE-SECRET-KEY-1[A-Z0-9]{58}", "https://age-encryption.org/v1"),
    SecretForm(
        "authorization",
        ("uthorization", "UTHORIZATION"),
        rf"((?:[Aa]uthorization|AUTHORIZATION){_SEPARATOR}(?:[Bb]earer|BEARER|[Tt]oken|[Aa]pi-?[Kk]ey|Bot|DPoP|SSWS)"
        rf"\s{{1,4}}){_WITH_DIGIT}{{8,}}+",
        "RFC 9110, 11.6.2; RFC 6750, 2.1",
    ),
    SecretForm(
        "authorization",
        ("uthorization", "UTHORIZATION"),
        rf"((?:[Aa]uthorization|AUTHORIZATION){_SEPARATOR}(?:[Bb]asic|BASIC)\s{{1,4}})(?:{_BASE64}{{4}}){{2,1024}}"
        rf"(?:{_BASE64}{{2}}==|{_BASE64}{{3}}=)?(?![A-Za-z0-9+/=])",
        "RFC 9110, 11.6.2; RFC 7617, 2",
    ),
    SecretForm(
        "api-key-header",
        ("-key", "-Key", "-KEY", "-token", "-Token", "-TOKEN"),
        rf"(?i)({_ALONE}(?:(?:x-api|x-goog-api|xi-api|dd-api|api)-key|(?:private|job|deploy|x-auth|x-vault|"
        rf"x-amz-security)-token)(?-i:{_SEPARATOR})){_WITH_DIGIT}{{16,}}+",
        "docs.claude.com/en/api/overview; ai.google.dev/api; docs.gitlab.com/api/rest/authentication",
    ),
    SecretForm(
        # A user name alone is not a secret (git@, user@), unless it looks like a token.
        "url-userinfo",
        ("://",),
        r"(://)(?:[A-Za-z0-9._~!$&'()*+,;=%-]{0,256}+:" + _NO_EXAMPLE + r"[A-Za-z0-9._~!$&'()*+,;=%:-]{1,512}+(?=@)"
        r"|(?=[A-Za-z_-]*+[0-9])[A-Za-z0-9_-]{20,512}+(?=@))",
        "RFC 3986, 3.2.1",
    ),
)
