"""Whether a push can succeed, asked before anything is read, trained or sent."""

from typing import Any

from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from hf_tfm.privacy import without_secrets

__all__ = ["check_name", "check_push", "status_of"]

TOKENS_PAGE = "https://huggingface.co/settings/tokens"
# Roles of a member of an organisation who may create repositories in it.
WRITING_ROLES = ("admin", "write", "contributor")


def check_push(api: Any, name: str, token: str | None = None, private: bool = False, create_pr: bool = False) -> str:
    """The full name, "user/model", of the repository that a push to `name` reaches. `api`: an `HfApi`. `private`: the
    repository must not be public. `create_pr`: the push opens a pull request, which needs no right to write.

    Raises ValueError if the name is none of a model, if there is no token, or if the token is wrong, only reads, or
    cannot write there; the errors of huggingface_hub if the Hub cannot be reached."""
    check_name(name)
    account = account_of(api, token)
    full_name = name if "/" in name else f"{account['name']}/{name}"
    try:
        api.auth_check(full_name, token=token, write=not create_pr)
    except RepositoryNotFoundError as error:
        if create_pr:
            raise ValueError(f"{full_name} does not exist, so it takes no pull request; check the name.") from error
        check_owner(full_name, account)
    except HfHubHTTPError as error:
        if status_of(error) not in (401, 403):
            raise
        raise ValueError(
            f"The token of {account['name']} has no right to write to {full_name}; make one that has at {TOKENS_PAGE}, "
            "or choose another name."
        ) from error
    else:
        if private and not api.repo_info(full_name, token=token).private:
            raise ValueError(f"{full_name} exists and is public; make it private on the Hub, or choose another name.")
    return full_name


def check_name(name: str) -> None:
    """Raises ValueError unless a name is one of a repository. It shows no name that holds a token."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(
            f'"{without_secrets(name)}" is no name of a model on the Hub; give user/name, of letters, digits, "-", "_" '
            'and ".".'
        ) from error


def account_of(api: Any, token: str | None) -> dict[str, Any]:
    """What the Hub says of the account that a token belongs to."""
    try:
        account = api.whoami(token=token)
    except OfflineModeIsEnabled as error:
        raise ValueError("HF_HUB_OFFLINE is set, and a push needs the Hub; unset it, or leave the push out.") from error
    except LocalTokenNotFoundError as error:
        raise ValueError(
            f"There is no token for the Hub; run `hf auth login`, or set HF_TOKEN, with one from {TOKENS_PAGE}."
        ) from error
    except HfHubHTTPError as error:
        if status_of(error) not in (401, 403):
            raise
        raise ValueError(f"The Hub refuses this token; run `hf auth login` with one from {TOKENS_PAGE}.") from error
    kind = account.get("auth", {}).get("accessToken", {}).get("role")
    if kind == "read":
        raise ValueError(f"The token of {account['name']} only reads; make one that writes at {TOKENS_PAGE}.")
    return account


def check_owner(full_name: str, account: dict[str, Any]) -> None:
    """Raises ValueError if an account may not create a repository of this name."""
    owner = full_name.partition("/")[0]
    roles = {item["name"]: item.get("roleInOrg", "write") for item in account.get("orgs", ())}
    writable = [account["name"], *(item for item, role in roles.items() if role in WRITING_ROLES)]
    if owner not in writable:
        raise ValueError(
            f"{full_name} does not exist, and {account['name']} cannot create it; names that it can create begin with "
            f"{', '.join(f'{item}/' for item in writable)}."
        )


def status_of(error: Any) -> int | None:
    """The status with which the Hub answered; None if it did not answer."""
    return getattr(getattr(error, "response", None), "status_code", None)
