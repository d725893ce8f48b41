"""Endpoints and agents in the admin. They are declared, not stored: pages without a table, with buttons to hold and release."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.views.generic import TemplateView
from unfold.views import UnfoldModelAdminViewMixin

from invocation.admin import cells
from invocation.admin.on_record import attempt
from invocation.models.admission import HoldScope
from invocation.selectors import endpoints, standing
from invocation.services import contracts, holds

UNREASONED = "held in the admin"


class ContractsView(UnfoldModelAdminViewMixin, TemplateView):  # type: ignore[misc]  # unfold has no types
    """A page of declared things of one scope; posting a value holds it, posting a hold releases it."""

    permission_required = ("invocation.view_hold",)
    scope: HoldScope

    def post(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        """Hold or release, and show the page again."""
        if "release" in request.POST:
            _require(request, "invocation.change_hold")
            attempt(request, _release, request.POST["release"])
        else:
            _require(request, "invocation.add_hold")
            attempt(request, self._hold, request.POST.get("hold", ""))
        return HttpResponseRedirect(request.path)

    def _hold(self, request: HttpRequest, value: str) -> None:
        if value not in self.labels():
            messages.error(request, f"There is no {self.scope} called {value}.")
            return
        reason = request.POST.get("reason", "").strip()[:400] or UNREASONED
        holds.hold(self.scope, value, reason=reason, by=request.user, now=timezone.now())
        messages.success(request, f"{value} is held: nothing new is let in.")

    def labels(self) -> set[str]:
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop("model_admin", None)  # unfold hands it over twice, by as_view and by the path
        user = self.request.user
        may = {"may_hold": user.has_perm("invocation.add_hold"), "may_release": user.has_perm("invocation.change_hold")}
        return dict(super().get_context_data(**kwargs, **may))


class EndpointsView(ContractsView):
    title = "Endpoints"
    template_name = "admin/invocation/endpoints.html"
    scope = HoldScope.ENDPOINT

    def labels(self) -> set[str]:
        return {endpoint.label for endpoint in endpoints.every()}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, cards=[_endpoint(each) for each in standing.endpoints(contracts.locked())])


class AgentsView(ContractsView):
    title = "Agents"
    template_name = "admin/invocation/agents.html"
    scope = HoldScope.AGENT

    def labels(self) -> set[str]:
        return {each.agent.label for each in standing.agents()}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, cards=[_agent(each) for each in standing.agents()])


def _release(request: HttpRequest, hold_id: str) -> None:
    holds.release(int(hold_id) if hold_id.isdecimal() else 0, by=request.user, now=timezone.now())
    messages.success(request, "Released: it is let in again from the next round on.")


def _require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _endpoint(found: standing.EndpointStanding) -> dict[str, Any]:
    endpoint, budgets, limits = found.endpoint, found.endpoint.budgets, found.endpoint.limits
    return {
        "endpoint": endpoint,
        "mode": cells.mode(str(endpoint.mode)),
        "hold": found.hold,
        "lock": _lock(found.breaks),
        "breaks": found.breaks or (),
        "figures": [
            ("Agent", endpoint.agent_label),
            ("Canary", f"version {found.canary.agent_version}, {found.canary.percent:g} %" if found.canary else "none"),
            ("Class", endpoint.policy.priority_class),
            ("First words within", cells.took(budgets.first_delta.total_seconds() * 1000)),
            ("Whole run within", cells.took(budgets.whole.total_seconds() * 1000)),
            ("Cost cap", cells.money(budgets.cost_usd)),
            ("Items", f"{limits.items:,}"),
            ("Input tokens", f"{limits.tokens:,}"),
            ("Body", f"{limits.body_bytes:,} bytes"),
            ("Verification floor", endpoint.floor),
            ("May wait for", ", ".join(sorted(endpoint.may_wait)) or "nothing"),
            ("Escape hatch", endpoint.escape.offer or "a stored text" if endpoint.escape else cells.NONE),
            ("Called by", endpoint.policy.right_call),
        ],
        "input_schema": cells.pretty(endpoint.input_schema),
        "output_schema": cells.pretty(endpoint.output_schema),
    }


def _agent(found: standing.AgentStanding) -> dict[str, Any]:
    names = [getattr(verifier, "__name__", str(verifier)).replace("_", " ") for verifier in found.agent.verifiers]
    skills = [(skill.name, skill.summary) for skill in found.agent.skills]  # a template would call a skill by itself
    return {"agent": found.agent, "endpoints": found.endpoints, "hold": found.hold, "skills": skills, "verifiers": names}


def _lock(breaks: Any) -> Any:
    if breaks is None:
        return cells.badge("not published", tone="wary")
    return cells.badge("broken") if breaks else cells.badge("as published")
